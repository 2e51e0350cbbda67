"""Runs some of a decoder's layers by the model's own code, for packed rows or one candidate at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import ModelError
from core.lm.attention import additive
from core.lm.prompts import Packed, visible
from core.lm.structure import layer_list, window_of


class _Entry(nn.Module):
    """Stands before a layer and hands it other states than the model would."""

    def __init__(self, layer: nn.Module, hidden: Tensor) -> None:
        super().__init__()
        self.layer, self.hidden = layer, hidden

    def forward(self, _: Tensor, *rest: Any, **more: Any) -> Any:
        return self.layer(self.hidden, *rest, **more)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)  # such as the kind of its attention


@contextmanager
def _entering(view: nn.Module, hidden: Tensor) -> Iterator[None]:
    """Lets `hidden` in before the view's first layer, whatever the model makes of it before."""
    _, layers = layer_list(view)
    first = layers[0]
    layers[0] = _Entry(first, hidden)
    try:
        yield
    finally:
        layers[0] = first


@contextmanager
def _leaving(view: nn.Module) -> Iterator[list[Tensor]]:
    """Collects what the view's last layer answers."""
    found: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Any, ...], answer: Any) -> None:
        found.append(answer if isinstance(answer, Tensor) else answer[0])

    hook = layer_list(view)[1][-1].register_forward_hook(keep)
    try:
        yield found
    finally:
        hook.remove()


def run_view(view: nn.Module, hidden: Tensor, **given: Any) -> Tensor:
    """(batch, T, width) states after a view's layers.

    Args:
        view: from `core.lm.decoder.decoder_view`.
        hidden: (batch, T, width) states before its first layer; before layer 0, the tokens' embeddings.
        given: what else the model's own forward takes, such as positions and a mask.
    """
    span = vars(view)["span"]
    with ExitStack() as stack:
        given_to = hidden
        if span.start and len(layer_list(view)[1]):
            stack.enter_context(_entering(view, hidden))
            given_to = hidden.clone()  # some families scale what they are given where it lies
        left = [] if span.norm else stack.enter_context(_leaving(view))
        states: Tensor = view(inputs_embeds=given_to, use_cache=False, **given).last_hidden_state
    return states if span.norm else left[0]


def run_alone(view: nn.Module, hidden: Tensor, packed: Packed) -> Tensor:
    """(batch, T, width) states of packed rows, every branch read in a row of its own, after its prefix.

    For models whose attention cannot be told what to see: the model's own code places, masks and windows.
    """
    branches = max(1, packed.ends.shape[1])
    columns = [
        np.flatnonzero((row == 0) | (row == number))
        for row in packed.branch
        for number in range(1, branches + 1)
    ]
    length = max(map(len, columns))
    real = np.array([[place < len(own) for place in range(length)] for own in columns])
    places = np.stack([np.pad(own, (0, length - len(own))) for own in columns])
    sources = np.repeat(np.arange(len(packed.branch)), branches)[:, None]
    rows = torch.from_numpy(np.broadcast_to(sources, places.shape).copy()).to(hidden.device)
    at = torch.from_numpy(places).to(hidden.device)
    mask = torch.from_numpy(real.astype(np.int64)).to(hidden.device)
    states = run_view(view, hidden[rows, at], attention_mask=None if real.all() else mask)
    # The prefix is the same in all of a row's copies; the first one's states stand for it.
    first = (np.arange(len(columns)) % branches == 0)[:, None]
    kept = real & (first | (packed.branch[sources, places] > 0))
    taken = torch.from_numpy(kept).to(hidden.device)
    return states.new_zeros(*hidden.shape[:2], states.shape[-1]).index_put(
        (rows[taken], at[taken]), states[taken]
    )


def check_length(view: nn.Module, packed: Packed) -> None:
    """Raises `ModelError` where a prompt is longer than the model has positions."""
    limit = getattr(view.config, "max_position_embeddings", None)
    longest = int(packed.positions.max()) + 1
    if isinstance(limit, int) and longest > limit:
        raise ModelError(
            f"a prompt has {longest:,} tokens and the model reads at most {limit:,}",
            "choose a model that reads more, or a dataset with shorter titles or histories",
        )


def masks_of(view: nn.Module, packed: Packed, like: Tensor) -> tuple[np.ndarray, Any]:
    """What a packed row's tokens may see, and the mask that says so in the states' precision.

    Returns:
        (batch, 1, T, T) what may be seen, the same in all layers; and the mask, which is one for each kind of
        layer where they differ, as in a model with windows in some layers that are shorter than the prompt.
    """
    allowed = visible(packed.branch)
    window = window_of(view.config)
    if window is None or int(packed.positions.max()) < window:
        return allowed, additive(allowed, like.dtype, like.device)
    apart = packed.positions[:, None, :, None] - packed.positions[:, None, None, :]
    near = allowed & (apart < window)
    mask = additive(near, like.dtype, like.device)
    kinds = set(getattr(view.config, "layer_types", None) or ("sliding_attention",))
    if kinds == {"sliding_attention"}:
        return near, mask
    full = additive(allowed, like.dtype, like.device)
    return allowed, {"full_attention": full, "sliding_attention": mask}
