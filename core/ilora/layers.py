"""LoRA layers with the gate between A and B: one multiply makes an adapter per sequence.

A LoRA of rank r is cut into K experts of rank r/K (paper eq. 6). Because

    sum_k omega_k B_k A_k x  =  B (repeat_interleave(omega, r/K) * (A x)),

the sum over experts needs no further matrix product. The scale handed to peft stays alpha/r and the gate
multiplies by K * omega, so that a uniform gate is exactly plain LoRA; this equals the official alpha/(r/K).
Plain LoRA runs through the same layer without the multiply: the two methods differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from torch import Tensor, nn

ADAPTER = "default"


class ExpertWeights:
    """Where gated layers find the omega of the batch in hand. One per adapted model.

    The weights must stay set until `backward()` has run, because checkpointed layers run again then.
    """

    def __init__(self, experts: int) -> None:
        self.experts = experts
        self._omega: Tensor | None = None

    @contextmanager
    def use(self, omega: Tensor) -> Iterator[None]:
        """Sets omega, (batch, experts), for the forward and backward passes inside the block."""
        if omega.ndim != 2 or omega.shape[1] != self.experts:
            raise ValueError(f"omega has shape {tuple(omega.shape)}, not (batch, {self.experts})")
        previous, self._omega = self._omega, omega
        try:
            yield
        finally:
            self._omega = previous

    def scale_for(self, batch: int, rank: int) -> Tensor:
        """The factor of each of the r low-rank channels, (batch, rank): K * omega, every value r/K times.

        Beams and repeated prompts (a batch that is a multiple) repeat the rows.

        Raises:
            RuntimeError: no omega is set, or it is for another batch size. A missing gate is a bug and is
                never replaced by a default.
        """
        if self._omega is None:
            raise RuntimeError("a gated LoRA layer ran without expert weights; wrap the call in `use(omega)`")
        omega = self._omega
        if omega.shape[0] != batch:
            if batch % omega.shape[0]:
                raise RuntimeError(f"expert weights for {omega.shape[0]} sequences met a batch of {batch}")
            omega = omega.repeat_interleave(batch // omega.shape[0], dim=0)
        return (omega * self.experts).repeat_interleave(rank // self.experts, dim=-1)


class ExpertLora(LoraVariant):
    """peft's LoRA computed in the input's precision, with the gate between A and B where there is one.

    Works on `Linear`, `Linear8bitLt` and `Linear4bit`. A and B stay in full precision for the optimizer.
    """

    def __init__(self, weights: ExpertWeights | None) -> None:
        self.weights = weights

    def supports_lora_conversion(self) -> bool:
        """Only without a gate: a gated adapter differs from sequence to sequence."""
        return self.weights is None

    def forward(  # type: ignore[override]
        self, module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **_: Any
    ) -> Tensor:
        """Adds alpha/r * B(scale * (A x)) to the frozen layer's output.

        Args:
            module: the peft layer that holds A and B.
            active_adapter: name of the adapter inside `module`.
            x: (batch, tokens, in) input.
            result: (batch, tokens, out) output of the frozen layer.
        """
        down: Tensor = module.lora_A[active_adapter].get_parameter("weight").to(x.dtype)  # (rank, in)
        up: Tensor = module.lora_B[active_adapter].get_parameter("weight")  # (out, rank)
        hidden = F.linear(module.lora_dropout[active_adapter](x), down)  # (batch, tokens, rank)
        if self.weights is not None:
            scale = self.weights.scale_for(hidden.shape[0], hidden.shape[-1]).to(hidden.dtype)
            hidden = hidden * scale.view(hidden.shape[0], *[1] * (hidden.ndim - 2), -1)
        output = F.linear(hidden, (up * module.scaling[active_adapter]).to(hidden.dtype))
        return result + output.to(result.dtype)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError(
            "this adapter is not merged into the weights; fold one user's into a plain LoRA instead"
        )

    merge_safe = merge_unsafe = unmerge = _refuse


def adapt_layers(model: nn.Module, experts: int | None, adapter: str = ADAPTER) -> ExpertWeights | None:
    """Makes every LoRA layer of a peft model an `ExpertLora`.

    Args:
        model: a model that went through `peft.get_peft_model`.
        experts: K, which must divide the adapter's rank, or None for plain LoRA.
        adapter: the adapter's name inside peft.

    Returns:
        Where the batch's omega is set; None for plain LoRA.

    Raises:
        ValueError: there is no LoRA layer, or K does not divide the rank.
    """
    weights = None if experts is None else ExpertWeights(experts)
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    if not layers:
        raise ValueError("the model has no LoRA layer to adapt")
    for layer in layers:
        if experts is not None and layer.r[adapter] % experts:
            raise ValueError(f"{experts} experts do not divide rank {layer.r[adapter]}")
        layer.lora_variant[adapter] = ExpertLora(weights)
        layer.cast_input_dtype_enabled = False
    return weights


def expert_slice(tensor: Tensor, expert: int, experts: int, dim: int) -> Tensor:
    """The part of A (dim 0) or B (dim 1) that belongs to one expert: r/K rows or columns."""
    return torch.chunk(tensor, experts, dim=dim)[expert]
