"""Runs a part of the language model's layers on packed rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import Interrupted
from core.events import ShouldStop
from core.lm.attention import PACKED_ROWS, Ends, additive, cut
from core.lm.prompts import Packed
from core.lm.structure import layer_list, layers_of
from core.lm.views import check_length, masks_of, run_alone, run_view


def decoder_view(decoder: nn.Module, start: int, stop: int, norm: bool, packed: bool = True) -> nn.Module:
    """A decoder that shares all parameters with `decoder` and runs only layers start .. stop - 1.

    It runs by the model's own code, so that what a family does to embeddings, positions and masks is done.
    `run_decoder` lets states in before layer `start` and out after layer `stop` - 1.

    Args:
        decoder: a transformer with its layers in a list.
        start: first layer.
        stop: one past the last layer.
        norm: whether what comes after the last layer, the final norm, is applied.
        packed: whether several candidates can share a row; see `core.lm.checking`.
    """
    view = copy.copy(decoder)
    name, layers = layer_list(decoder)
    kept = nn.ModuleList(list(layers)[start:stop])
    config = copy.copy(decoder.config)
    depth, settings = len(layers), vars(config)
    own_names: dict[str, str] = config.attribute_map  # type: ignore[union-attr, assignment]
    settings[own_names.get("num_hidden_layers", "num_hidden_layers")] = len(kept)
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


def stop_between_layers(decoder: nn.Module, should_stop: ShouldStop) -> None:
    """Lets every pass through these layers end with `Interrupted` where `should_stop` says so."""

    def look(*_: Any) -> None:
        if should_stop():
            raise Interrupted

    for layer in layers_of(decoder):
        layer.register_forward_pre_hook(look)


def run_decoder(
    view: nn.Module, hidden: Tensor, packed: Packed, in_pieces: bool = False, ends_of: int | None = None
) -> Tensor:
    """Hidden states of packed rows after the view's layers, (batch, T, width).

    Args:
        view: from `decoder_view`.
        hidden: (batch, T, width) states before its first layer; before layer 0, the tokens' embeddings.
        packed: positions and branches of the rows.
        in_pieces: whether layers with `core.lm.attention` attend in pieces where that is faster, on a CPU.
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
    only. On a CPU rows are attended to in pieces (`core.lm.attention`). Both change nothing but the rounding.

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
        kinds = type(self.last).__mro__  # a sharded layer is of a kind of its own, made from the layer's
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
