"""Attention over packed rows on a CPU: a piece of the queries at a time, with the keys that it may see.

A row holds a prefix and many branches that do not see each other, so that most of the square of queries and
keys is masked. Leaving out keys that no query of a piece may see changes nothing but the rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED_ROWS = "ilora_packed_rows"
"""The name that transformers knows this attention by; without `pieces` it is plain SDPA."""
QUERIES = 96
"""Columns of queries in one piece."""


@dataclass(frozen=True)
class QueryBlock:
    """Some neighbouring queries of all rows, and the columns of keys that any of them may see."""

    queries: slice
    keys: tuple[slice, ...]
    """One or two runs of columns: the prefix, and the neighbourhood of the queries themselves."""
    mask: Tensor
    """(batch, 1, queries, keys) added to the logits."""


@dataclass(frozen=True)
class Ends:
    """The only queries whose answers are needed of one layer: nothing above it looks at the others."""

    layer: int
    """transformers' number of the layer."""
    places: Tensor
    """(batch, C) columns of the queries."""
    mask: Tensor
    """(batch, 1, C, T) added to the logits."""


def additive(allowed: npt.NDArray[np.bool_], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A mask in the logits' precision: the CPU kernels convert boolean ones every time.

    Args:
        allowed: (batch, 1, queries, keys).
        dtype: of the logits.
        device: where the mask is needed.
    """
    mask = torch.zeros(allowed.shape, dtype=dtype, device=device)
    return mask.masked_fill_(torch.from_numpy(~allowed).to(device), torch.finfo(dtype).min)


def cut(allowed: npt.NDArray[np.bool_], dtype: torch.dtype, queries: int = QUERIES) -> list[QueryBlock]:
    """The pieces of (batch, 1, T, T) `allowed`."""
    pieces = []
    for start in range(0, allowed.shape[2], queries):
        rows = slice(start, min(start + queries, allowed.shape[2]))
        seen = np.flatnonzero(allowed[:, 0, rows].any(axis=(0, 1)))
        gaps = np.diff(seen)
        widest = int(gaps.argmax()) if len(gaps) else 0
        keys: tuple[slice, ...] = (slice(0, int(seen[-1]) + 1),)
        if len(gaps) and gaps[widest] > 1:
            keys = (slice(0, int(seen[widest]) + 1), slice(int(seen[widest + 1]), int(seen[-1]) + 1))
        kept = np.concatenate([allowed[:, :, rows, span] for span in keys], axis=-1)
        pieces.append(QueryBlock(rows, keys, additive(kept, dtype, torch.device("cpu"))))
    return pieces


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    pieces: Sequence[QueryBlock] | None = None,
    ends: Ends | None = None,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in every layer; without `pieces` and `ends`, its own SDPA.

    Args:
        module: the attention layer.
        query: (batch, heads, T, d).
        key: (batch, key heads, T, d).
        value: like `key`.
        attention_mask: used without `pieces` only.
        pieces: from `cut`.
        ends: in the layer that they name, all other queries are answered with zeros.
        scaling: of the logits.
        rest: whatever else transformers hands on.

    Returns:
        (batch, T, heads, d), and no weights.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    attend = _by_products if torch.is_grad_enabled() else _by_kernel
    if ends is not None and module.layer_idx == ends.layer:
        places = ends.places[:, None, :, None].expand(-1, query.shape[1], -1, query.shape[3])
        found = attend(query.gather(2, places), key, value, ends.mask, scale)
        return found.new_zeros(query.shape).scatter(2, places, found).transpose(1, 2).contiguous(), None
    if pieces is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **rest)
    parts = []
    for piece in pieces:
        keys, values = (_columns(states, piece.keys) for states in (key, value))
        parts.append(attend(query[:, :, piece.queries], keys, values, piece.mask, scale))
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _columns(states: Tensor, spans: Sequence[slice]) -> Tensor:
    return (
        torch.cat([states[:, :, span] for span in spans], dim=2) if len(spans) > 1 else states[:, :, spans[0]]
    )


def _by_kernel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """PyTorch's fused kernel, the faster one forward."""
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def _by_products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Two products and a softmax, whose backward pass takes half of the fused kernel's time on a CPU."""
    batch, heads, length, width = query.shape
    groups = key.shape[1]
    rows = (query * scale).reshape(batch * groups, -1, width)  # heads that share keys, one after another
    keys, values = (states.reshape(batch * groups, -1, width) for states in (key, value))
    logits = torch.bmm(rows, keys.transpose(1, 2)).view(batch, heads, length, -1) + mask
    weights = torch.softmax(logits, dim=-1)
    return torch.bmm(weights.view(batch * groups, -1, keys.shape[1]), values).view(query.shape)


AttentionInterface.register(PACKED_ROWS, packed_attention)
AttentionMaskInterface.register(PACKED_ROWS, sdpa_mask)
