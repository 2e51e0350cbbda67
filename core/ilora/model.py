"""The recommender that is trained and kept: encoder, gate, adapter, item slots and score head, as one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.answers import AnswerRanker
from core.assets import home
from core.config import AdapterConfig, RunConfig
from core.errors import ModelError
from core.events import Emit, Notice, silent
from core.ilora.gate import SoftmaxGate
from core.ilora.layers import ADAPTER, ExpertWeights, adapt_layers
from core.llm import LanguageModel, disable_cpu_packing, quiet
from core.prompts import AnswerPrompt, ListwisePrompt
from core.ranking import ListwiseRanker, SegmentStates, decoder_view, states_key

if TYPE_CHECKING:
    from core.data.cards import Prompts
    from core.recommenders.sasrec import SASRec

Histories = Sequence[Sequence[int]]

ADAPTER_FILE = "adapter_model.safetensors"
"""A and B under peft's names."""
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
        emit: told when the catalogue's titles have to be read first.
    """

    def __init__(
        self,
        llm: LanguageModel,
        encoder: SASRec,
        titles: Sequence[str],
        prompts: Prompts,
        config: RunConfig,
        gated: bool,
        seed: int,
        emit: Emit = silent,
    ) -> None:
        self.llm, self.config, self.gated = llm, config, gated
        self.encoder = encoder.to(llm.device).freeze()
        depth = config.adapter.layers or llm.depth
        self.lower = max(0, llm.depth - depth)
        decoder = llm.decoder
        torch.manual_seed(seed)
        self.peft = attach_adapter(llm, config.adapter, self.lower)
        self.weights: ExpertWeights | None = adapt_layers(
            self.peft, config.adapter.experts if gated else None
        )
        if config.training.checkpointing:
            recompute_in_backward(llm.model)
        self.ranker = self._ranker(decoder, titles, prompts, emit).to(llm.device)
        self.gate: SoftmaxGate | None = None
        if gated:  # last, so that everything before starts the same in LoRA and iLoRA
            self.gate = SoftmaxGate(encoder.config.width, config.adapter.experts).to(llm.device)
        self._gate_sum: Tensor | None = None
        self._gate_count = 0

    def _ranker(
        self, decoder: nn.Module, titles: Sequence[str], prompts: Prompts, emit: Emit
    ) -> ListwiseRanker | AnswerRanker:
        upper = decoder_view(decoder, self.lower, self.llm.depth, norm=True)
        vectors = self.encoder.item_vectors()
        if self.config.training.objective == "language-model":
            prompt = AnswerPrompt(self.llm.tokenizer, titles, prompts.language_model)
            lower = decoder_view(decoder, 0, self.lower, norm=False) if self.lower else None
            return AnswerRanker(self.llm, prompt, lower, upper, vectors)
        packed = ListwisePrompt(self.llm.tokenizer, titles, prompts.history, prompts.ask)
        store = home() / "states" / f"{states_key(self.llm, packed, self.lower)}.safetensors"
        if self.lower and not store.is_file():
            emit(Notice(f"reading {packed.items:,} titles through the frozen layers, once"))
        states = SegmentStates(self.llm, packed, self.lower, store)
        states.ensure(np.arange(packed.items))
        return ListwiseRanker(states, upper, vectors, self.config.training.encoder_prior)

    # --- answering --------------------------------------------------------------------------------------

    def scores(self, histories: Histories, candidates: Histories) -> Tensor:
        """(batch, C) scores of candidates, with gradients to everything that is trained."""
        z, prior = self._read(histories, candidates)
        with self._gated(z):
            scores: Tensor = self.ranker(histories, candidates, prior)
        return scores

    @contextmanager
    def loss(self, histories: Histories, candidates: Histories, targets: Sequence[int]) -> Iterator[Tensor]:
        """The summed training loss of a batch; the gate stays set inside the block, where `backward` belongs.

        listwise: cross-entropy of the target's column among the candidates. language-model: cross-entropy of
        the answer's tokens, their mean per sample.
        """
        z, prior = self._read(histories, candidates)
        with self._gated(z):
            if isinstance(self.ranker, AnswerRanker):
                answers = [row[target] for row, target in zip(candidates, targets, strict=True)]
                yield self.ranker.loss(histories, candidates, answers)
            else:
                scores = self.ranker(histories, candidates, prior)
                yield F.cross_entropy(scores, torch.tensor(targets, device=scores.device), reduction="sum")

    @torch.no_grad()
    def expert_weights(self, histories: Histories) -> npt.NDArray[np.float32] | None:
        """omega, (batch, K), or None for plain LoRA."""
        if self.gate is None:
            return None
        omega: npt.NDArray[np.float32] = self.gate(self.encoder.represent(histories)).cpu().numpy()
        return omega

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

    @contextmanager
    def _gated(self, z: Tensor) -> Iterator[None]:
        if self.gate is None or self.weights is None:
            yield
            return
        omega = self.gate(z)
        if torch.is_grad_enabled():
            total = omega.detach().sum(0)
            self._gate_sum = total if self._gate_sum is None else self._gate_sum + total
            self._gate_count += len(omega)
        with self.weights.use(omega):
            yield

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

    def state(self) -> dict[str, Tensor]:
        """Every trained weight, by the names of `parameters`."""
        return {name: parameter.detach() for name, parameter in self.parameters().items()}

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state` gave.

        Raises:
            ModelError: a weight is missing, unknown or of another shape.
        """
        own = self.parameters()
        if missing := sorted(own.keys() - state.keys()):
            raise ModelError(f"the saved adapter lacks {missing[0]} (and {len(missing) - 1} more)")
        if unknown := sorted(state.keys() - own.keys()):
            raise ModelError(f"the saved adapter holds the unknown weight {unknown[0]}")
        for name, parameter in own.items():
            if parameter.shape != state[name].shape:
                raise ModelError(
                    f"the saved {name} has shape {tuple(state[name].shape)}, not {tuple(parameter.shape)}"
                )
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
        return packed + own + sum(p.numel() for p in self.encoder.parameters())

    # --- keeping ----------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Writes a PEFT adapter folder (A and B), and beside it what is trained outside the adapter."""
        settings = self.peft.peft_config[ADAPTER]
        settings.base_model_name_or_path = self.llm.name
        settings.inference_mode = True
        settings.save_pretrained(folder)
        parts = {"adapter": {}, "rest": {}}  # type: dict[str, dict[str, Tensor]]
        for name, tensor in self.state().items():
            if name.startswith("adapter."):
                plain = name.removeprefix("adapter.").replace(f".{ADAPTER}.", ".")
                parts["adapter"][plain] = tensor.cpu().contiguous()
            else:
                parts["rest"][name] = tensor.cpu().contiguous()
        save_file(parts["adapter"], folder / ADAPTER_FILE)
        save_file(parts["rest"], folder / REST_FILE)

    def load(self, folder: Path) -> None:
        """Takes back what `save` wrote.

        Raises:
            ModelError: a file is missing or damaged, or a weight is missing, unknown or misshapen.
        """
        try:
            adapter, rest = load_file(folder / ADAPTER_FILE), load_file(folder / REST_FILE)
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{folder} cannot be read: {error}", "train again, or copy the folder anew"
            ) from error
        names = {
            name.removeprefix("adapter.").replace(f".{ADAPTER}.", "."): name
            for name in self.parameters()
            if name.startswith("adapter.")
        }
        self.load_state({**{names.get(name, name): tensor for name, tensor in adapter.items()}, **rest})


def recompute_in_backward(model: Any) -> None:
    """Makes the layers run again in the backward pass, in training mode only, instead of keeping activations.

    Not the reentrant kind: it would drop the gradients of whatever a layer does not take as an argument.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # a new name for it exists from transformers 5.23 on
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def attach_adapter(llm: LanguageModel, config: AdapterConfig, lower: int) -> Any:
    """Wraps the language model in peft with LoRA on the layers above `lower`.

    Raises:
        ModelError: the model has no linear layers of the configured names.
    """
    from peft import LoraConfig, get_peft_model

    names = {name.rsplit(".", 1)[-1] for name, _ in llm.model.named_modules()}
    if absent := [target for target in config.targets if target not in names]:
        raise ModelError(
            f"{llm.name} has no layer named {', '.join(absent)}",
            "this program adapts models built like Llama, Qwen, Mistral or Gemma",
        )
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.dropout,
        target_modules=list(config.targets),
        layers_to_transform=list(range(lower, llm.depth)) if lower else None,
        task_type="CAUSAL_LM",
    )
    with quiet():
        model = get_peft_model(llm.model, settings)
    disable_cpu_packing(model)
    return model
