"""Listwise ranking: one packed forward scores all candidates of a user, each in a branch of its own.

The frozen lower layers read every title once, by itself, after the preamble; what they make of it is kept.
The adapted upper layers read the whole prompt. With all layers adapted, the lower part is the embedding.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core import parallel
from core.attention import PACKED_ROWS, Ends, additive, cut
from core.files import atomic_path
from core.llm import LanguageModel
from core.prompts import ListwisePrompt, Packed, pack
from core.sharding import whole
from core.structure import layer_list, layers_of
from core.views import check_length, masks_of, run_alone, run_view

ITEMS_PER_ROW = 24
ROWS_PER_PASS = 8


def decoder_view(decoder: nn.Module, start: int, stop: int, norm: bool, packed: bool = True) -> nn.Module:
    """A decoder that shares all parameters with `decoder` and runs only layers start .. stop - 1.

    It runs by the model's own code, so that whatever a family does to embeddings, positions and masks is done.
    `run_decoder` lets states in before layer `start` and out after layer `stop` - 1.

    Args:
        decoder: a transformer with its layers in a list.
        start: first layer.
        stop: one past the last layer.
        norm: whether what comes after the last layer, the final norm, is applied.
        packed: whether several candidates can share a row; see `core.checking`.
    """
    view = copy.copy(decoder)
    name, layers = layer_list(decoder)
    kept = nn.ModuleList(list(layers)[start:stop])
    config = copy.copy(decoder.config)
    depth, settings = len(layers), vars(config)
    settings[config.attribute_map.get("num_hidden_layers", "num_hidden_layers")] = len(kept)  # type: ignore[union-attr, operator, index]
    for key, value in settings.items():  # what is said of each layer, such as `layer_types`
        if "layer" in key and isinstance(value, list | tuple) and len(value) == depth:
            settings[key] = value[start:stop]
    span = Span(start, norm, packed)
    view.__dict__.update(_modules={**decoder._modules, name: kept}, config=config, span=span)
    return view


@dataclass(frozen=True)
class Span:
    """What a view of a decoder runs."""

    start: int
    norm: bool
    packed: bool


def run_decoder(
    view: nn.Module, hidden: Tensor, packed: Packed, in_pieces: bool = False, ends_of: int | None = None
) -> Tensor:
    """Hidden states of packed rows after the view's layers, (batch, T, width).

    Args:
        view: from `decoder_view`.
        hidden: (batch, T, width) states before its first layer; before layer 0, the tokens' embeddings.
        packed: positions and branches of the rows.
        in_pieces: whether layers with `core.attention` attend in pieces where that is faster, on a CPU.
        ends_of: the layer, by transformers' number, in which only the branches' ends attend to anything.

    Raises:
        ModelError: a prompt is longer than the model has positions.
    """
    check_length(view, packed)
    if not vars(view)["span"].packed:
        return run_alone(view, hidden, packed)
    allowed, mask = masks_of(view, packed, hidden)
    given: dict[str, Any] = {"attention_mask": mask}
    if ends_of is not None and isinstance(mask, Tensor):
        places = torch.from_numpy(packed.ends).to(hidden.device)
        seen = np.take_along_axis(allowed, packed.ends[:, None, :, None], axis=2)
        given["ends"] = Ends(ends_of, places, additive(seen, hidden.dtype, hidden.device))
    if in_pieces and hidden.device.type == "cpu" and isinstance(mask, Tensor):
        given["pieces"] = cut(allowed, hidden.dtype)
    positions = torch.from_numpy(packed.positions).to(hidden.device)
    return run_view(view, hidden, position_ids=positions, **given)


SHORTENED = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer")
"""Layers known to hand on what attention needs, and to have an MLP that looks at one token at a time."""


class EndReader:
    """Reads packed rows for the states at the branches' ends alone: all that a score needs.

    What the last layer makes of other tokens nobody looks at, so that it asks, mixes and goes on at the ends
    only. On a CPU rows are attended to in pieces (`core.attention`). Both change nothing but the rounding.

    Args:
        upper: from `decoder_view`, final norm included.
    """

    def __init__(self, upper: nn.Module) -> None:
        self.upper = upper
        self.last: nn.Module = layers_of(upper)[-1]
        if self._is_known():
            self.last.self_attn.config._attn_implementation = PACKED_ROWS  # type: ignore[union-attr]

    def __call__(self, hidden: Tensor, packed: Packed) -> Tensor:
        """(batch, C, width), the normed states at `packed.ends` of rows that enter as (batch, T, width)."""
        ends = torch.from_numpy(packed.ends).to(hidden.device)
        known = self._is_known()
        recomputed = getattr(self.last, "gradient_checkpointing", False) and self.last.training
        if not known or recomputed:
            return at(run_decoder(self.upper, hidden, packed, in_pieces=known), ends)
        last: Any = self.last
        with ExitStack() as stack:
            for module in (last.self_attn.q_proj, last.self_attn.o_proj, last.mlp):
                stack.enter_context(only_at(module, ends, hidden.shape[1]))
            states = run_decoder(self.upper, hidden, packed, in_pieces=True, ends_of=last.self_attn.layer_idx)
        return at(states, ends)

    def _is_known(self) -> bool:
        kinds = type(self.last).__mro__  # a spread layer is of a kind of its own, made from the layer's
        return any(kind.__name__ in SHORTENED for kind in kinds)


@contextmanager
def only_at(module: nn.Module, places: Tensor, length: int) -> Iterator[None]:
    """Runs a module that looks at one token at a time at some places alone; elsewhere it answers zeros.

    Args:
        module: takes and gives (batch, length, width).
        places: (batch, C).
        length: of the rows.
    """

    def pick(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (at(given[0], places),)

    def put_back(_: nn.Module, __: tuple[Tensor, ...], found: Tensor) -> Tensor:
        rows = found.new_zeros(len(found), length, found.shape[-1])
        return rows.scatter(1, places[..., None].expand_as(found), found)

    hooks = [module.register_forward_pre_hook(pick, prepend=True), module.register_forward_hook(put_back)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def at(hidden: Tensor, places: Tensor) -> Tensor:
    """(batch, C, width), the states of (batch, T, width) `hidden` at (batch, C) `places`."""
    return hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))


class SegmentStates:
    """What the frozen lower layers make of every segment of a listwise prompt, computed once and kept.

    Args:
        llm: the language model.
        prompt: the catalogue's segments.
        lower: number of lower layers.
        store: a file where complete states are kept between runs, if any.
    """

    def __init__(
        self, llm: LanguageModel, prompt: ListwisePrompt, lower: int, store: Path | None = None
    ) -> None:
        self.llm, self.prompt, self.store = llm, prompt, store
        self.embed: nn.Module = llm.model.get_input_embeddings()
        packed = llm.reading.packed
        self.view = decoder_view(llm.decoder, 0, lower, norm=False, packed=packed) if lower else None
        self.ids = torch.from_numpy(prompt.ids).to(llm.device)
        self.known = np.zeros(prompt.items, dtype=bool)
        self.flat = torch.zeros(len(prompt.ids), llm.width, dtype=llm.dtype, device=llm.device)
        if self.view is None:
            self._embed_all()
        elif not self._restore():
            for segment in (prompt.preamble, prompt.question):
                self._read([[] if segment is prompt.preamble else [segment]])

    def _restore(self) -> bool:
        """Takes the states kept by an earlier run; says whether it, and every process with it, could."""
        states = self._kept()
        if parallel.anyone(states is None) or states is None:  # they are read together or not at all
            return False
        self.flat.copy_(states)
        self.known[:] = True
        return True

    def _kept(self) -> Tensor | None:
        """The states in the store; None where there are none, or the file cannot be used."""
        if self.store is None or not self.store.is_file():
            return None
        try:
            states = load_file(self.store)["states"]
        except (OSError, SafetensorError, KeyError):
            return None
        return states if states.shape == self.flat.shape else None

    @torch.no_grad()
    def _embed_all(self) -> None:
        """With no lower layers, the states are the token embeddings."""
        self.flat.copy_(self.embed(self.ids[None])[0])
        self.known[:] = True

    def ensure(self, items: Sequence[int] | np.ndarray) -> None:
        """Makes sure that these items' states are known."""
        asked = np.unique(np.asarray(items, dtype=np.int64))
        missing = asked[~self.known[asked]]
        size = ITEMS_PER_ROW * ROWS_PER_PASS
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            whole_rows = -(-len(part) // ITEMS_PER_ROW)
            full = np.resize(part, whole_rows * ITEMS_PER_ROW)  # repeats fill the last row
            self._read([list(map(self.prompt.item, row)) for row in full.reshape(-1, ITEMS_PER_ROW).tolist()])
            self.known[part] = True
        if len(missing) and self.known.all() and self.store is not None and parallel.is_main():
            with atomic_path(self.store) as temporary:
                save_file({"states": self.flat.cpu()}, temporary)

    @torch.no_grad()
    def _read(self, segments: list) -> None:  # type: ignore[type-arg]
        """Reads rows of segments, each as a branch right after the preamble."""
        assert self.view is not None
        packed = pack([[self.prompt.preamble]] * len(segments), segments)
        places = torch.from_numpy(packed.tokens).to(self.llm.device)
        hidden = run_decoder(self.view, self.embed(self.ids[places]), packed)
        real = torch.from_numpy(packed.branch >= 0).to(self.llm.device)
        self.flat[places[real]] = hidden[real].to(self.flat.dtype)

    def gather(self, packed: Packed) -> Tensor:
        """(batch, T, width) states of packed rows."""
        return self.flat[torch.from_numpy(packed.tokens).to(self.llm.device)]

    def scale(self) -> float:
        """Typical size of a state's entry: how large an item's vector must be to be noticed."""
        known = self.flat[: len(self.prompt.preamble.tokens) + len(self.prompt.question.tokens)].float()
        return float(known.square().mean(-1).sqrt().median())


def states_key(llm: LanguageModel, prompt: ListwisePrompt, lower: int) -> str:
    """Names the states of a (model, quantization, precision, prompt, depth): equal keys, equal states."""
    digest = weights_digest(llm, lower)
    digest.update(prompt.ids.tobytes())
    digest.update(prompt.starts.tobytes())
    return digest.hexdigest()[:16]


def weights_digest(llm: LanguageModel, lower: int) -> hashlib._Hash:
    """A digest of what decides the states after a model's `lower` lowest layers, apart from their input."""
    digest = hashlib.sha256()
    weight: Tensor = llm.model.get_input_embeddings().get_parameter("weight").detach()
    for part in (llm.name, llm.quantization, str(llm.dtype), llm.device.type, str(lower), str(weight.shape)):
        digest.update(f"{part}\n".encode())
    digest.update(weight[:: max(1, len(weight) // 64)].float().cpu().numpy().tobytes())
    for layer in layers_of(llm.decoder)[:lower]:
        for parameter in layer.parameters():
            digest.update(whole(parameter.detach()).flatten()[:32].float().cpu().numpy().tobytes())
    return digest


class ItemSlots(nn.Module):
    """Adds the encoder's item vectors, through a small projector, at the slots of a prompt (paper §3.1).

    Args:
        item_vectors: (items, d), frozen.
        width: of the language model's states.
        scale: typical size of the states that the vectors are added to.
    """

    item_vectors: Tensor

    def __init__(self, item_vectors: Tensor, width: int, scale: float) -> None:
        super().__init__()
        vectors = item_vectors.detach().float()
        self.register_buffer("item_vectors", vectors / vectors.square().mean().sqrt(), persistent=False)
        self.scale = scale
        self.projector = nn.Linear(vectors.shape[1], width)
        nn.init.normal_(self.projector.weight, std=vectors.shape[1] ** -0.5)
        nn.init.zeros_(self.projector.bias)

    def forward(self, hidden: Tensor, slots: np.ndarray) -> Tensor:
        """`hidden`, (batch, T, width), with the vectors of `slots`, (batch, T), added; -1 adds nothing."""
        items = torch.from_numpy(slots).to(hidden.device)
        at = items >= 0
        added = torch.zeros_like(hidden)
        added[at] = (self.projector(self.item_vectors[items[at]]) * self.scale).to(hidden.dtype)
        return hidden + added


class ListwiseRanker(nn.Module):
    """Scores candidates with the language model's upper layers; holds what is trained beside the adapter.

    Args:
        states: the lower layers' work.
        upper: a view of the upper layers, final norm included.
        item_vectors: (items, d) frozen vectors of the sequence encoder.
        prior: whether the encoder's logits are added with a learned weight. The head starts at zero, so that
            training starts from the encoder's ranking.
    """

    def __init__(self, states: SegmentStates, upper: nn.Module, item_vectors: Tensor, prior: bool) -> None:
        super().__init__()
        self._parts = (states, EndReader(upper))  # a tuple: neither is trained here
        self.slots = ItemSlots(item_vectors, states.llm.width, states.scale())
        self.head = nn.Linear(states.llm.width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.prior = nn.Parameter(torch.ones(())) if prior else None
        if not prior:
            nn.init.normal_(self.head.weight, std=states.llm.width**-0.5)

    @property
    def prompt(self) -> ListwisePrompt:
        """How histories and candidates become rows."""
        return self._parts[0].prompt

    def forward(
        self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]], prior: Tensor | None
    ) -> Tensor:
        """(batch, C) scores.

        Args:
            histories: item sequences, oldest first.
            candidates: C items each.
            prior: (batch, C) the encoder's logits; used only by a ranker that was made with the prior.
        """
        states, read = self._parts
        states.ensure(np.concatenate([np.asarray(row, dtype=np.int64) for row in (*histories, *candidates)]))
        packed = states.prompt.pack(histories, candidates)
        last = read(self.slots(states.gather(packed), packed.slots), packed)  # (batch, C, width)
        scores: Tensor = self.head(last.float()).squeeze(-1)
        if self.prior is None:
            return scores
        if prior is None:
            raise RuntimeError("this ranker adds the encoder's scores and was given none")
        return scores + self.prior * prior
