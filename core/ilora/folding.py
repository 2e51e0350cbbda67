"""Folding: one sequence's adapter as a plain LoRA, which peft and servers that know no gate can load.

For one sequence the gate's factors are constants, one per low-rank channel. Together with alpha/r they go
into the columns of B, so that the update is B A and nothing else: a LoRA with `lora_alpha = r`.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn

from core.errors import InputError
from core.ilora.layers import ADAPTER, ExpertLora, expert_slice

MAX_RANK = 16
"""What servers accept by default, vLLM among them."""


@dataclass(frozen=True)
class Update:
    """What an adapter adds to one linear layer: the matrix B A, all factors inside."""

    a: Tensor
    """(rank, in)"""
    b: Tensor
    """(out, rank)"""

    @property
    def rank(self) -> int:
        """Number of low-rank channels."""
        return int(self.a.shape[0])


@torch.no_grad()
def fold(model: nn.Module, gated: bool = True) -> dict[str, Update]:
    """The adapter of the one sequence whose expert weights are set, layer by layer, on the CPU.

    Args:
        model: a peft model whose layers went through `adapt_layers`.
        gated: take the gate's factors as they are set now; otherwise those of a uniform gate, which are one.

    Raises:
        RuntimeError: the adapter is gated and no expert weights are set, or those of several sequences.
    """
    updates = {}
    for name, layer in model.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        variant = layer.lora_variant[ADAPTER]
        assert isinstance(variant, ExpertLora)
        a = layer.lora_A[ADAPTER].get_parameter("weight").detach().float()  # (rank, in)
        b = layer.lora_B[ADAPTER].get_parameter("weight").detach().float()  # (out, rank)
        factors = variant.factors(1) if gated else None  # (1, rank)
        if factors is not None:
            b = b * factors.to(b)
        updates[name] = Update(a.cpu().clone(), (b * layer.scaling[ADAPTER]).cpu())
    return updates


def split_experts(updates: Mapping[str, Update], experts: int) -> list[dict[str, Update]]:
    """The K experts of an adapter as adapters of their own, rank r/K each.

    Added up, expert k times K * omega_k, they are the adapter of the sequence whose weights are omega.

    Args:
        updates: from `fold` with `gated=False`.
        experts: K, which divides the rank.
    """
    return [
        {
            name: Update(
                expert_slice(update.a, expert, experts, 0).contiguous(),
                expert_slice(update.b, expert, experts, 1).contiguous(),
            )
            for name, update in updates.items()
        }
        for expert in range(experts)
    ]


def reduce_rank(updates: Mapping[str, Update], rank: int) -> tuple[dict[str, Update], float]:
    """The closest adapter of at most this rank (singular value decomposition), and what it leaves out.

    Returns:
        The adapter, and the norm of what is lost over the norm of the whole update, all layers together.

    Raises:
        InputError: the rank is not positive.
    """
    if rank < 1:
        raise InputError(f"--rank is {rank}", "give 1 or more")
    reduced, lost, total = {}, 0.0, 0.0
    for name, update in updates.items():
        reduced[name] = update
        if update.rank <= rank:
            total += float((update.b @ update.a).square().sum())
            continue
        q_b, r_b = torch.linalg.qr(update.b)
        q_a, r_a = torch.linalg.qr(update.a.T)
        u, s, v = torch.linalg.svd(r_b @ r_a.T)
        root = s[:rank].sqrt()
        reduced[name] = Update((root[:, None] * (v[:rank] @ q_a.T)).contiguous(), (q_b @ u[:, :rank]) * root)
        lost += float(s[rank:].square().sum())
        total += float(s.square().sum())
    return reduced, (lost / total) ** 0.5 if total else 0.0


def plain_settings(like: Any, rank: int, base_model: str) -> Any:
    """peft's settings of a plain LoRA with `lora_alpha = r`, for the layers that `like` is for."""
    settings = deepcopy(like)
    settings.r = settings.lora_alpha = rank
    settings.lora_dropout = 0.0
    settings.base_model_name_or_path = base_model
    settings.inference_mode = True
    return settings


def save_updates(folder: Path, updates: Mapping[str, Update], like: Any, base_model: str) -> None:
    """Writes updates as a plain peft LoRA with `lora_alpha = r` into an existing folder.

    Args:
        folder: where to.
        updates: layer -> update, all of one rank.
        like: the peft settings of the adapter that they come from: which layers, which task.
        base_model: what peft is to load below it.
    """
    ranks = {update.rank for update in updates.values()}
    if len(ranks) != 1:
        raise ValueError(f"updates of ranks {sorted(ranks)} do not make one LoRA")
    plain_settings(like, ranks.pop(), base_model).save_pretrained(folder)
    tensors = {}
    for name, update in updates.items():
        tensors[f"{name}.lora_A.weight"] = update.a.contiguous()
        tensors[f"{name}.lora_B.weight"] = update.b.contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
