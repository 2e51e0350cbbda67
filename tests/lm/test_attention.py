"""Attention in pieces is attention: the same states and gradients, whatever the rows look like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.lm.attention import QUERIES, additive, cut, packed_attention
from core.lm.prompts import PADDING, visible

HEADS, KEY_HEADS, WIDTH = 4, 2, 8
CPU = torch.device("cpu")


def branches(rows: list[tuple[int, list[int]]]) -> np.ndarray:
    """Rows of a prefix and branches, by their lengths, as `core.lm.prompts.pack` would number them."""
    made = [
        np.concatenate([np.zeros(prefix, dtype=np.int64), np.repeat(np.arange(1, len(own) + 1), own)])
        for prefix, own in rows
    ]
    length = max(map(len, made))
    return np.stack([np.pad(row, (0, length - len(row)), constant_values=PADDING) for row in made])


def states(batch: int, length: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    """Query, key and value that want gradients."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, heads, length, WIDTH, generator=generator).to(dtype).requires_grad_()
        for heads in (HEADS, KEY_HEADS, KEY_HEADS)
    ]


def whole(query: Tensor, key: Tensor, value: Tensor, allowed: np.ndarray) -> Tensor:
    """The textbook's attention: every logit, one softmax."""
    key, value = (found.repeat_interleave(HEADS // KEY_HEADS, dim=1) for found in (key, value))
    logits = query @ key.transpose(2, 3) * WIDTH**-0.5
    weights = logits.masked_fill(torch.from_numpy(~allowed), -torch.inf).softmax(-1)
    return (weights @ value).transpose(1, 2)


ROWS = st.lists(
    st.tuples(st.integers(1, 12), st.lists(st.integers(1, 5), min_size=1, max_size=6)), min_size=1, max_size=3
)


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, queries=st.integers(1, 20), learning=st.booleans())
def test_pieces_of_any_size_give_what_the_whole_square_gives(rows: Any, queries: int, learning: bool) -> None:
    branch = branches(rows)
    allowed = visible(branch)
    given = states(len(rows), branch.shape[1])
    with torch.set_grad_enabled(learning):
        found, none = packed_attention(
            torch.nn.Identity(), *given, None, pieces=cut(allowed, torch.float64, queries)
        )
        expected = whole(*given, allowed)
    assert none is None
    torch.testing.assert_close(found, expected)
    if learning:
        direction = torch.randn_like(expected)
        for own, other in zip(
            torch.autograd.grad((found * direction).sum(), given),
            torch.autograd.grad((expected * direction).sum(), given),
            strict=True,
        ):
            torch.testing.assert_close(own, other)


def test_a_piece_of_candidates_leaves_out_the_candidates_before_it() -> None:
    branch = branches([(QUERIES, [8] * 60), (QUERIES - 3, [7] * 60)])
    pieces = cut(visible(branch), torch.float32)
    assert len(pieces) == -(-branch.shape[1] // QUERIES)
    met = [sum(span.stop - span.start for span in piece.keys) for piece in pieces]
    assert met[0] == QUERIES and max(met) < 3 * QUERIES < branch.shape[1]
    assert all(
        piece.mask.shape[2:] == (piece.queries.stop - piece.queries.start, keys)
        for piece, keys in zip(pieces, met, strict=True)
    )


def test_in_16_bit_the_gradients_are_as_good_as_the_fused_kernels() -> None:
    branch = branches([(60, [7] * 20), (50, [9] * 20)])
    allowed = visible(branch)
    exact = states(2, branch.shape[1])
    direction = torch.randn(2, branch.shape[1], HEADS, WIDTH, dtype=torch.float64)
    truth = torch.autograd.grad((whole(*exact, allowed) * direction).sum(), exact)

    def error(pieces: Any) -> float:
        rounded = [found.detach().bfloat16().requires_grad_() for found in exact]
        mask = additive(allowed, torch.bfloat16, CPU)
        layer = torch.nn.Module()
        layer.num_key_value_groups = HEADS // KEY_HEADS  # type: ignore[assignment]
        layer.is_causal = False  # type: ignore[assignment]
        found, _ = packed_attention(layer, *rounded, mask, pieces=pieces, scaling=WIDTH**-0.5)
        got = torch.autograd.grad((found.double() * direction).sum(), rounded)
        misses = [float((a.double() - b).norm() / b.norm()) for a, b in zip(got, truth, strict=True)]
        return max(misses)

    fused = error(None)
    assert 0 < error(cut(allowed, torch.bfloat16)) < 1.5 * fused < 0.05


@pytest.mark.parametrize("value", [torch.float32, torch.bfloat16])
def test_a_mask_is_zero_where_allowed_and_the_lowest_number_elsewhere(value: torch.dtype) -> None:
    allowed = visible(branches([(3, [2, 1])]))
    mask = additive(allowed, value, CPU)
    assert mask.dtype == value and (mask == 0).numpy().tolist() == allowed.tolist()
    assert mask.min() == torch.finfo(value).min
