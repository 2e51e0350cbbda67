"""The recommender that is trained and kept: encoder, gate, adapter, item slots and score head, as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.assets.known import base_model
from core.assets.spec import home
from core.config.settings import RunConfig
from core.errors import DataError, ModelError
from core.events import Notice
from core.ilora.attaching import attach_adapter, check_settings, recompute_in_backward
from core.ilora.folding import Update, fold
from core.ilora.gate import Gate, GivenInput, MeanInput, RandomInput, gate_penalty, make_gate
from core.ilora.layers import ADAPTER, ExpertWeights, adapt_layers
from core.lm.decoder import decoder_view
from core.lm.likelihood import AT_TEST, AnswerRanker, Wording
from core.lm.listwise import ListwiseRanker
from core.lm.loading import LanguageModel
from core.lm.norms import replace_norms
from core.lm.prompts import AnswerPrompt, ListwisePrompt, encode_titles
from core.lm.sharding import shard_layers
from core.lm.states import SegmentStates, states_key
from core.lm.token_prompt import TokenPrompt
from core.lm.token_ranker import TokenRanker
from core.records import json_of, read_text
from core.stages import UNWATCHED, Watch
from core.training.weights import check_weights

if TYPE_CHECKING:
    from core.data.cards import Prompts
    from core.encoders.base import Encoder

Histories = Sequence[Sequence[int]]

ADAPTER_FILE = "adapter_model.safetensors"
"""A and B under peft's names."""
SETTINGS_FILE = "adapter_config.json"
"""peft's settings: rank, alpha, layers."""
REST_FILE = "ilora.safetensors"
"""Gate, projector and head."""


class AdaptedModel:
    """A frozen 4-bit language model with a LoRA or iLoRA adapter that ranks items.

    Args:
        llm: freshly loaded; it is changed in place and belongs to this object from now on.
        encoder: the frozen sequence encoder.
        titles: display title per item.
        prompts: the dataset card's templates.
        config: the run's settings.
        gated: iLoRA if true, plain LoRA if false.
        seed: initializes adapter, gate, projector and head.
        watch: told when the catalogue's titles have to be read first, and how far that is.
        knows_user: whether the encoder's representation stands in the listwise prompt's question.
    """

    def __init__(
        self,
        llm: LanguageModel,
        encoder: Encoder,
        titles: Sequence[str],
        prompts: Prompts,
        config: RunConfig,
        gated: bool,
        seed: int,
        watch: Watch = UNWATCHED,
        knows_user: bool = False,
    ) -> None:
        self.llm, self.config, self.gated, self.knows_user = llm, config, gated, knows_user
        self.encoder = encoder.to(llm.device).freeze()
        depth = config.adapter.layers or llm.depth
        self.lower = max(0, llm.depth - depth)
        decoder = llm.decoder
        torch.manual_seed(seed)
        replace_norms(llm.model)
        self.peft = attach_adapter(llm, config.adapter, self.lower)
        self.weights: ExpertWeights | None = adapt_layers(
            self.peft, config.adapter.experts if gated else None, config.gate.scope
        )
        if config.training.checkpointing:
            recompute_in_backward(llm.model)
        shard_layers(llm)
        self.cut = self.lower if llm.reading.split and not config.training.item_tokens else 0
        """Layers that run by themselves, before item vectors are added."""
        self.ranker = self._ranker(decoder, titles, prompts, watch).to(llm.device)
        self.gate: Gate | None = None
        self.gate_input: RandomInput | MeanInput | GivenInput | None = None
        """What the gate reads in place of the encoder's representation, if anything."""
        if self.weights is not None:  # last, so that everything before starts the same in LoRA and iLoRA
            own = self._input(titles)
            self.gate_input, width = own, own.width if own else encoder.width
            gate = make_gate(config.gate, width, config.adapter.experts, self.weights.sites)
            self.gate = gate.to(llm.device)
        self._gate_sum: Tensor | None = None
        self._gate_count = 0

    def _ranker(
        self, decoder: nn.Module, titles: Sequence[str], prompts: Prompts, watch: Watch
    ) -> ListwiseRanker | AnswerRanker | TokenRanker:
        packed = self.llm.reading.packed
        upper = decoder_view(decoder, self.cut, self.llm.depth, norm=True, packed=packed)
        vectors = self.encoder.item_vectors()
        if self.config.training.item_tokens:
            asked = TokenPrompt(self.llm.tokenizer, titles, prompts.history)
            even = torch.ones(1, self.config.adapter.experts)  # untrained, the experts add nothing
            with self.weights.use(even) if self.weights else nullcontext():
                return TokenRanker(self.llm, asked, upper, vectors)
        if self.config.training.objective == "language-model":
            prompt = AnswerPrompt(self.llm.tokenizer, titles, prompts.answer_templates)
            lower = decoder_view(decoder, 0, self.cut, norm=False, packed=packed) if self.cut else None
            slots = vectors if self.config.training.item_slots else None
            return AnswerRanker(self.llm, prompt, lower, upper, slots)
        listwise = ListwisePrompt(self.llm.tokenizer, titles, prompts.history, prompts.ask)
        store = home() / "states" / f"{states_key(self.llm, listwise, self.cut)}.safetensors"
        if self.cut and not store.is_file():
            watch.emit(Notice(f"reading {listwise.items:,} titles through the frozen layers, once"))
        states = SegmentStates(self.llm, listwise, self.cut, store)
        states.ensure(np.arange(listwise.items), watch)
        user = self.encoder.width if self.knows_user else 0
        return ListwiseRanker(states, upper, vectors, self.config.training.encoder_prior, user)

    def _input(self, titles: Sequence[str]) -> RandomInput | MeanInput | None:
        """What the gate reads in place of the encoder's representation, if anything."""
        kind = self.config.gate.input
        if kind == "random":
            return RandomInput(self.encoder.config.width)
        if kind == "items":
            vectors = self.encoder.item_vectors().detach().float()
            return MeanInput(vectors, torch.ones(len(vectors), device=vectors.device))
        if kind == "tokens":
            encoded = encode_titles(self.llm.tokenizer, titles)
            table = self.llm.model.get_input_embeddings().get_parameter("weight").detach()
            sums = torch.stack([table[torch.tensor(ids)].float().sum(0) for ids in encoded])
            counts = torch.tensor([float(len(ids)) for ids in encoded], device=sums.device)
            return MeanInput(sums, counts)
        return None

    # --- answering --------------------------------------------------------------------------------------

    def scores(self, histories: Histories, candidates: Histories) -> Tensor:
        """(batch, C) scores of candidates, with gradients to everything that is trained."""
        z, prior = self._read(histories, candidates)
        with self._gated(histories, z):
            return self._ranked(histories, candidates, prior, z)

    @torch.no_grad()
    def answers(self, histories: Histories, candidates: Histories, constrained: bool) -> list[str]:
        """What the model writes when it is asked for the next title, one text per history.

        Raises:
            TypeError: the model was trained to score candidates, not to write.
        """
        if not isinstance(self.ranker, AnswerRanker):
            raise TypeError("a listwise ranker writes no answers")
        with self._gated(histories):
            return self.ranker.answer(histories, candidates, constrained)

    @contextmanager
    def loss(
        self,
        histories: Histories,
        candidates: Histories,
        targets: Sequence[int],
        wording: Wording = AT_TEST,
    ) -> Iterator[Tensor]:
        """The summed training loss of a batch; the gate stays set inside the block, where `backward` belongs.

        listwise: cross-entropy of the target's column among the candidates. language-model: cross-entropy of
        the answer's tokens, their mean per sample; its prompts are worded as told.
        """
        z, prior = self._read(histories, candidates)
        listwise = self.config.training.objective == "listwise"
        with self._gated(histories, z) as omega:
            if isinstance(self.ranker, TokenRanker):
                loss = self.ranker.loss(histories, candidates, targets, listwise)
            elif isinstance(self.ranker, AnswerRanker):
                answers = [row[target] for row, target in zip(candidates, targets, strict=True)]
                loss = self.ranker.loss(histories, candidates, answers, wording)
            else:
                scores = self._ranked(histories, candidates, prior, z)
                loss = F.cross_entropy(scores, torch.tensor(targets, device=scores.device), reduction="sum")
            if omega is not None and self.config.gate.has_penalty:
                loss = loss + len(histories) * gate_penalty(omega, self.config.gate)
            yield loss

    @torch.no_grad()
    def expert_weights(self, histories: Histories) -> npt.NDArray[np.float32] | None:
        """omega, (batch, K), its mean over the sites where there are several; None for plain LoRA."""
        if self.gate is None:
            return None
        omega: npt.NDArray[np.float32] = self.omega(self.gate, histories).mean(1).cpu().numpy()
        return omega

    @torch.no_grad()
    def expert_weights_by_layer(self, histories: Histories) -> npt.NDArray[np.float32] | None:
        """omega, (batch, layers, K), lowest adapted layer first, its mean over a layer's modules.

        None where all layers share one.
        """
        if self.gate is None or self.weights is None or self.weights.sites == 1:
            return None
        omega = self.omega(self.gate, histories).cpu().numpy()
        layers = np.array(self.weights.layers)
        return np.stack([omega[:, layers == layer].mean(1) for layer in sorted(set(layers))], axis=1)

    def mean_gate(self) -> list[float] | None:
        """Mean omega over the training samples since the last call."""
        if self._gate_sum is None or not self._gate_count:
            return None
        mean = [float(value) for value in self._gate_sum / self._gate_count]
        self._gate_sum, self._gate_count = None, 0
        return mean

    @torch.no_grad()
    def _read(self, histories: Histories, candidates: Histories) -> tuple[Tensor, Tensor]:
        z = self.encoder.represent(histories)  # (batch, width)
        ids = torch.tensor(np.asarray(candidates, dtype=np.int64), device=z.device)
        return z, self.encoder.score(z, ids)

    def _ranked(self, histories: Histories, candidates: Histories, prior: Tensor, z: Tensor) -> Tensor:
        told = (z,) if self.knows_user else ()
        scores: Tensor = self.ranker(histories, candidates, prior, *told)
        return scores

    def omega(self, gate: Gate, histories: Histories, z: Tensor | None = None) -> Tensor:
        """The gate's answer, (batch, sites, K); z is the encoder's representation where it is known."""
        if self.gate_input is not None:
            z = self.gate_input(histories).to(self.llm.device)
        elif z is None:
            with torch.no_grad():
                z = self.encoder.represent(histories)
        omega: Tensor = gate(z)
        return omega

    @contextmanager
    def _gated(self, histories: Histories, z: Tensor | None = None) -> Iterator[Tensor | None]:
        """Sets the gate for a batch and yields omega, (batch, sites, K); None for plain LoRA."""
        if self.gate is None or self.weights is None:
            yield None
            return
        omega = self.omega(self.gate, histories, z)
        if torch.is_grad_enabled():
            total = omega.detach().mean(1).sum(0)
            self._gate_sum = total if self._gate_sum is None else self._gate_sum + total
            self._gate_count += len(omega)
        with self.weights.use(omega):
            yield omega

    # --- training ---------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> None:
        """Training or evaluation mode; the encoder stays in evaluation mode, for it feeds the gate."""
        self.peft.train(mode)
        self.ranker.train(mode)
        if self.gate is not None:
            self.gate.train(mode)
        self.encoder.eval()

    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that is trained, by name; the part before the first dot is adapter, ranker or gate."""
        found = {f"adapter.{name}": p for name, p in self.peft.named_parameters() if p.requires_grad}
        found |= {f"ranker.{name}": p for name, p in self.ranker.named_parameters()}
        if self.gate is not None:
            found |= {f"gate.{name}": p for name, p in self.gate.named_parameters()}
        return found

    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW groups: adapter and head without decay, projector and gate with it (paper's code)."""
        training = self.config.training
        groups: dict[str, list[nn.Parameter]] = {"plain": [], "projector": [], "gate": []}
        for name, parameter in self.parameters().items():
            kind = "gate" if name.startswith("gate.") else "projector" if ".projector." in name else "plain"
            groups[kind].append(parameter)
        rates = {"plain": 1.0, "projector": 1.0, "gate": training.gate_rate_multiplier}
        decays = {"plain": 0.0, "projector": training.weight_decay, "gate": training.weight_decay}
        return [
            {"params": parameters, "rate": rates[kind], "weight_decay": decays[kind]}
            for kind, parameters in groups.items()
            if parameters
        ]

    def kept(self) -> dict[str, Tensor]:
        """All that a trained model is kept by: its parameters, and the gate's statistics or fixed weights."""
        buffers = {} if self.gate is None else dict(self.gate.named_buffers())
        return {**self.parameters(), **{f"gate.{name}": buffer for name, buffer in buffers.items()}}

    def state(self) -> dict[str, Tensor]:
        """Every weight and statistic of `kept`, without gradients."""
        return {name: tensor.detach() for name, tensor in self.kept().items()}

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state` gave.

        Raises:
            ModelError: a weight is missing, unknown, of another shape or type, or not finite.
        """
        own = self.kept()
        if missing := sorted(own.keys() - state.keys()):
            raise ModelError(f"the saved adapter lacks {missing[0]} (and {len(missing) - 1} more)")
        if unknown := sorted(state.keys() - own.keys()):
            raise ModelError(f"the saved adapter holds the unknown weight {unknown[0]}")
        check_weights(state, own, "the adapter")
        for name, parameter in own.items():
            parameter.copy_(state[name])

    def count(self, part: str) -> int:
        """Trained parameters of a part: adapter, ranker or gate."""
        return sum(p.numel() for name, p in self.parameters().items() if name.startswith(f"{part}."))

    def total_parameters(self) -> int:
        """All parameters, a 4-bit weight counted as one."""
        packed = sum(
            p.numel() * (2 if p.dtype == torch.uint8 else 1)
            for p in self.llm.model.parameters()
            if not p.requires_grad
        )
        own = sum(p.numel() for p in self.parameters().values())
        if not self.gated and isinstance(self.ranker, AnswerRanker) and self.ranker.slots is None:
            return packed + own  # a prompt of text alone needs no encoder
        return packed + own + sum(p.numel() for p in self.encoder.parameters())

    # --- keeping ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def round(self) -> None:
        """Rounds A and B to the precision they are computed and kept in: what is tested is what is saved."""
        for name, parameter in self.parameters().items():
            if name.startswith("adapter."):
                parameter.copy_(parameter.to(self.llm.dtype))

    @torch.no_grad()
    def folded(self, history: Sequence[int] | None) -> dict[str, Update]:
        """The adapter that one history gets as a plain LoRA; without a history, a uniform gate's."""
        if history is None:
            return fold(self.peft, gated=False)
        with self._gated([history]):
            return fold(self.peft)

    def save(self, folder: Path) -> None:
        """Writes a PEFT adapter folder (A and B, in 16 bit), and beside it what is trained outside it."""
        settings = self.peft.peft_config[ADAPTER]
        settings.base_model_name_or_path = base_model(self.llm.name)
        settings.inference_mode = True
        settings.save_pretrained(folder)
        parts = {"adapter": {}, "rest": {}}  # type: dict[str, dict[str, Tensor]]
        for name, tensor in self.state().items():
            if name.startswith("adapter."):
                plain = name.removeprefix("adapter.").replace(f".{ADAPTER}.", ".")
                parts["adapter"][plain] = tensor.to(self.llm.dtype).cpu().contiguous()
            else:
                parts["rest"][name] = tensor.cpu().contiguous()
        save_file(parts["adapter"], folder / ADAPTER_FILE)
        save_file(parts["rest"], folder / REST_FILE)

    def load(self, folder: Path) -> None:
        """Takes back what `save` wrote; raises what `read_saved` and `load_state` do."""
        self.load_state(read_saved(self, folder))


def read_saved(model: AdaptedModel, folder: Path) -> dict[str, Tensor]:
    """What a model like this one wrote with `save`, by the names of `state`.

    Raises:
        ModelError: a file is missing or damaged, a weight is unknown, or it is not this adapter's.
    """
    try:
        adapter, rest = load_file(folder / ADAPTER_FILE), load_file(folder / REST_FILE)
        written = json_of(read_text(folder / SETTINGS_FILE), SETTINGS_FILE)
    except (OSError, ValueError, SafetensorError, DataError) as error:
        hint = "train again, or copy the folder anew"
        raise ModelError(f"{folder} cannot be read: {error}", hint) from error
    own = model.peft.peft_config[ADAPTER]
    own.base_model_name_or_path = base_model(model.llm.name)
    check_settings(written, own, folder / SETTINGS_FILE)
    names = {
        name.removeprefix("adapter.").replace(f".{ADAPTER}.", "."): name
        for name in model.parameters()
        if name.startswith("adapter.")
    }
    for file, held, known in (
        (ADAPTER_FILE, adapter, names.keys()),
        (REST_FILE, rest, model.kept().keys() - names.values()),
    ):
        if unknown := sorted(held.keys() - known):
            raise ModelError(f"{folder / file} holds the unknown weight {unknown[0]}")
    return {**{names[name]: tensor for name, tensor in adapter.items()}, **rest}
