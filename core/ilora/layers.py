"""LoRA layers with the gate between A and B: one multiply makes an adapter per sequence.

A LoRA of rank r is cut into K experts of rank r/K (paper eq. 6). Because

    sum_k omega_k B_k A_k x  =  B (repeat_interleave(omega, r/K) * (A x)),

the sum over experts needs no further matrix product. The scale handed to peft stays alpha/r and the gate
multiplies by K * omega, so that a uniform gate is exactly plain LoRA; this equals the official alpha/(r/K).
Plain LoRA runs through the same layer without the multiply: the two methods differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from torch import Tensor, nn

ADAPTER = "default"


class ExpertWeights:
    """Where gated layers find the omega of the batch in hand. One per adapted model.

    The weights must stay set until `backward()` has run, because checkpointed layers run again then.

    Args:
        experts: K.
        layers: for each site, the number of the transformer layer it belongs to; a single site serves all.
    """

    def __init__(self, experts: int, layers: Sequence[int] = (0,)) -> None:
        self.experts = experts
        self.layers = tuple(layers)
        self._omega: Tensor | None = None

    @property
    def sites(self) -> int:
        """How many places of the model have weights of their own."""
        return len(self.layers)

    @contextmanager
    def use(self, omega: Tensor) -> Iterator[None]:
        """Sets omega for the forward and backward passes inside the block.

        Args:
            omega: (batch, experts) for all sites alike, or (batch, sites, experts).
        """
        by_site = omega[:, None] if omega.ndim == 2 else omega
        if by_site.ndim != 3 or by_site.shape[1] not in (1, self.sites) or by_site.shape[2] != self.experts:
            raise ValueError(
                f"omega has shape {tuple(omega.shape)}, not (batch, {self.experts})"
                f" or (batch, {self.sites}, {self.experts})"
            )
        previous, self._omega = self._omega, by_site
        try:
            yield
        finally:
            self._omega = previous

    def scale_for(self, batch: int, rank: int, site: int = 0) -> Tensor:
        """The factor of a site's r low-rank channels, (batch, rank): K * omega, every value r/K times.

        Beams and repeated prompts (a batch that is a multiple) repeat the rows.

        Raises:
            RuntimeError: no omega is set, or it is for another batch size. A missing gate is a bug and is
                never replaced by a default.
        """
        if self._omega is None:
            raise RuntimeError("a gated LoRA layer ran without expert weights; wrap the call in `use(omega)`")
        omega = self._omega[:, site if self._omega.shape[1] > 1 else 0]  # (batch, K)
        if omega.shape[0] != batch:
            if batch % omega.shape[0]:
                raise RuntimeError(f"expert weights for {omega.shape[0]} sequences met a batch of {batch}")
            omega = omega.repeat_interleave(batch // omega.shape[0], dim=0)
        return (omega * self.experts).repeat_interleave(rank // self.experts, dim=-1)


class LowRank(torch.autograd.Function):
    """result + up (scale * (down x)), with a backward pass of its own: fewer passes over memory."""

    @staticmethod
    def forward(ctx: Any, result: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: Tensor) -> Tensor:
        """The sum, in the shape of `result`.

        Args:
            ctx: keeps what the backward pass needs.
            result: (batch, ..., out).
            x: (batch, ..., in).
            down: A, (rank, in).
            up: B, (out, rank).
            scale: (batch, rank), or (1, rank) for all alike.
        """
        hidden = x.reshape(-1, x.shape[-1]) @ down.T  # (rows, rank)
        ctx.save_for_backward(x, hidden, down, up, scale)
        rows = result.reshape(-1, result.shape[-1])
        return torch.addmm(rows, _scaled(hidden, scale), up.T).view(result.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of all five arguments."""
        x, hidden, down, up, scale = ctx.saved_tensors
        rows = gradients[0].reshape(-1, up.shape[0])
        to_scaled = rows @ up
        to_hidden = _scaled(to_scaled, scale)
        to_x = (to_hidden @ down).view(x.shape) if ctx.needs_input_grad[1] else None
        to_scale = None
        if ctx.needs_input_grad[4]:
            to_scale = (to_scaled * hidden).view(len(scale), -1, scale.shape[1]).sum(1)
        to_down = to_hidden.T @ x.reshape(-1, x.shape[-1])
        return gradients[0], to_x, to_down, rows.T @ _scaled(hidden, scale), to_scale


def _scaled(hidden: Tensor, scale: Tensor) -> Tensor:
    """(rows, rank) `hidden`, the rows of each sequence times its own scale."""
    return (hidden.view(len(scale), -1, scale.shape[1]) * scale[:, None]).view(hidden.shape)


class ExpertLora(LoraVariant):
    """peft's LoRA computed in the input's precision, with the gate between A and B where there is one.

    Works on `Linear`, `Linear8bitLt` and `Linear4bit`. A and B stay in full precision for the optimizer.
    """

    def __init__(self, weights: ExpertWeights | None, site: int = 0) -> None:
        self.weights, self.site = weights, site

    def factors(self, batch: int, rank: int) -> Tensor | None:
        """(batch, rank), what each low-rank channel is multiplied by in this layer; None without a gate.

        Raises:
            RuntimeError: there is a gate and no omega is set, or it is for another batch size.
        """
        return None if self.weights is None else self.weights.scale_for(batch, rank, self.site)

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
        down: Tensor = module.lora_A[active_adapter].get_parameter("weight")  # (rank, in)
        up: Tensor = module.lora_B[active_adapter].get_parameter("weight")  # (out, rank)
        factors = self.factors(len(x), len(down))
        if factors is None:
            factors = torch.ones(1, len(down), device=x.device)
        scale = (factors * module.scaling[active_adapter]).to(x.dtype)
        x = module.lora_dropout[active_adapter](x)
        output: Tensor = LowRank.apply(result.to(x.dtype), x, down.to(x.dtype), up.to(x.dtype), scale)  # type: ignore[no-untyped-call]
        return output.to(result.dtype)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError(
            "this adapter is not merged into the weights; fold one user's into a plain LoRA instead"
        )

    merge_safe = merge_unsafe = unmerge = _refuse


def adapt_layers(
    model: nn.Module, experts: int | None, scope: str = "shared", adapter: str = ADAPTER
) -> ExpertWeights | None:
    """Makes every LoRA layer of a peft model an `ExpertLora`.

    Args:
        model: a model that went through `peft.get_peft_model`.
        experts: K, which must divide the adapter's rank, or None for plain LoRA.
        scope: which layers share their weights: shared, per-layer or per-module.
        adapter: the adapter's name inside peft.

    Returns:
        Where the batch's omega is set; None for plain LoRA.

    Raises:
        ValueError: there is no LoRA layer, or K does not divide the rank.
    """
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    if not found:
        raise ValueError("the model has no LoRA layer to adapt")
    numbers = [layer_number(name) for name, _ in found]
    keys = {"shared": [0] * len(found), "per-layer": numbers, "per-module": list(range(len(found)))}[scope]
    sites = {key: site for site, key in enumerate(dict.fromkeys(keys))}
    layers = [numbers[keys.index(key)] for key in sites]
    weights = None if experts is None else ExpertWeights(experts, layers)
    for (_, module), key in zip(found, keys, strict=True):
        if experts is not None and module.r[adapter] % experts:
            raise ValueError(f"{experts} experts do not divide rank {module.r[adapter]}")
        module.lora_variant[adapter] = ExpertLora(weights, sites[key])
        module.cast_input_dtype_enabled = False
    return weights


def layer_number(name: str) -> int:
    """The transformer layer that a module's dotted name places it in; 0 where there is none."""
    return next((int(part) for part in name.split(".") if part.isdigit()), 0)


def expert_slice(tensor: Tensor, expert: int, experts: int, dim: int) -> Tensor:
    """The part of A (dim 0) or B (dim 1) that belongs to one expert: r/K rows or columns."""
    return torch.chunk(tensor, experts, dim=dim)[expert]
