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
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from torch import Tensor, nn

from core.training import parallel

ADAPTER = "default"
KEPT = 64_000_000
"""Weights of all adapted layers up to which they are kept unpacked on a CPU: at most 256 MB in 32 bits."""


class ExpertWeights:
    """Where gated layers find the omega of the batch in hand. One per adapted model.

    The weights must stay set until `backward()` has run, because checkpointed layers run again then.

    Args:
        experts: K.
        rank: r, of all layers.
        layers: for each site, the number of the transformer layer it belongs to; a single site serves all.
    """

    def __init__(self, experts: int, rank: int, layers: Sequence[int] = (0,)) -> None:
        self.experts, self.rank = experts, rank
        self.layers = tuple(layers)
        self._factors: tuple[Tensor, ...] = ()

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
        factors = (by_site * self.experts).repeat_interleave(self.rank // self.experts, dim=-1)
        previous, self._factors = self._factors, factors.unbind(1)
        try:
            yield
        finally:
            self._factors = previous

    def factors_for(self, batch: int, site: int = 0) -> Tensor:
        """The factors of a site's r low-rank channels, (batch, rank): K * omega, every value r/K times.

        Beams and repeated prompts (a batch that is a multiple) repeat the rows.

        Raises:
            RuntimeError: no omega is set, or it is for another batch size. A missing gate is a bug and is
                never replaced by a default.
        """
        if not self._factors:
            raise RuntimeError("a gated LoRA layer ran without expert weights; wrap the call in `use(omega)`")
        factors = self._factors[site if len(self._factors) > 1 else 0]
        if len(factors) == batch:
            return factors
        if batch % len(factors):
            raise RuntimeError(f"expert weights for {len(factors)} sequences met a batch of {batch}")
        return factors.repeat_interleave(batch // len(factors), dim=0)


class Frozen:
    """A linear layer without a bias whose weight the backward pass can ask for: whole, or in NF4.

    Args:
        layer: such a layer; see `accepts`.
        keeps: whether a weight held in NF4 on a CPU is unpacked once and kept, in place of twice a step.
    """

    def __init__(self, layer: nn.Module, keeps: bool = False) -> None:
        self.layer: Any = layer
        self.keeps = keeps
        self._kept: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """What the layer answers, without a gradient."""
        with torch.no_grad():
            if self.keeps and x.device.type == "cpu":
                return F.linear(x, self.weight(x.dtype))
            answer: Tensor = self.layer(x)
            return answer

    @staticmethod
    def accepts(layer: nn.Module) -> bool:
        """Whether this kind of layer is known."""
        return type(layer).__name__ in ("Linear", "Linear4bit") and layer.bias is None

    def weight(self, dtype: torch.dtype) -> Tensor:
        """(out, in), dequantized."""
        weight: Tensor = self.layer.weight
        if type(self.layer).__name__ == "Linear":
            return weight.to(dtype)
        if self._kept is not None and self._kept.dtype == dtype:
            return self._kept
        from bitsandbytes.functional import dequantize_4bit

        unpacked: Tensor = dequantize_4bit(weight.data, self.layer.weight.quant_state).to(dtype)
        if self.keeps and weight.device.type == "cpu":
            self._kept = unpacked
        return unpacked


class LowRank(torch.autograd.Function):
    """result + scaling * up (factors * (down x)), with a backward pass of its own: fewer passes over memory.

    Computed in the precision of x; the gradients of A, B and the factors have these tensors' own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        result: Tensor,
        x: Tensor,
        down: Tensor,
        up: Tensor,
        factors: Tensor,
        scaling: float = 1.0,
        frozen: Frozen | None = None,
    ) -> Tensor:
        """The sum, in the shape of `result`.

        Args:
            ctx: keeps what the backward pass needs.
            result: (batch, ..., out) in the precision of x; written over if `frozen` is given.
            x: (batch, ..., in).
            down: A, (rank, in).
            up: B, (out, rank).
            factors: (batch, rank), or (1, rank) for all alike.
            scaling: alpha / rank.
            frozen: the layer that made `result` of `x` without a gradient; the backward pass goes through it,
                too. None where autograd knows how `result` came about.
        """
        low_down, low_up, scale = down.to(x.dtype), up.to(x.dtype), (factors * scaling).to(x.dtype)
        hidden = x.reshape(-1, x.shape[-1]) @ low_down.T  # (rows, rank)
        ctx.save_for_backward(x, hidden, low_down, low_up, scale)
        ctx.frozen, ctx.scaling, ctx.precision = frozen, scaling, (down.dtype, up.dtype, factors.dtype)
        rows, added = result.reshape(-1, result.shape[-1]), _scaled(hidden, scale)
        if frozen is None:
            # Not a view, for some models add in place to what a layer answers.
            summed = torch.empty_like(result, memory_format=torch.contiguous_format)
            torch.addmm(rows, added, low_up.T, out=summed.view(rows.shape))
            return summed
        ctx.mark_dirty(result)
        rows.addmm_(added, low_up.T)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the five tensors."""
        x, hidden, down, up, scale = ctx.saved_tensors
        of_down, of_up, of_factors = ctx.precision
        rows = gradients[0].reshape(-1, up.shape[0])
        to_scaled = rows @ up
        to_hidden = _scaled(to_scaled, scale)
        to_x = to_factors = None
        if ctx.needs_input_grad[1]:
            to_x = to_hidden @ down
            if ctx.frozen is not None:
                to_x.addmm_(rows, ctx.frozen.weight(x.dtype))
            to_x = to_x.view(x.shape)
        if ctx.needs_input_grad[4]:
            by_sequence = (to_scaled * hidden).view(len(scale), -1, scale.shape[1])
            to_factors = by_sequence.sum(1, dtype=of_factors) * ctx.scaling
        to_down = (to_hidden.T @ x.reshape(-1, x.shape[-1])).to(of_down)
        to_up = (rows.T @ _scaled(hidden, scale)).to(of_up)
        to_result = gradients[0] if ctx.frozen is None else None
        return to_result, to_x, to_down, to_up, to_factors, None, None


def _scaled(hidden: Tensor, scale: Tensor) -> Tensor:
    """(rows, rank) `hidden`, the rows of each sequence times its own scale."""
    return (hidden.view(len(scale), -1, scale.shape[1]) * scale[:, None]).view(hidden.shape)


class ExpertLora(LoraVariant):
    """peft's LoRA computed in the input's precision, with the gate between A and B where there is one.

    Works on `Linear`, `Linear8bitLt` and `Linear4bit`. A and B stay in full precision for the optimizer.
    """

    def __init__(self, weights: ExpertWeights | None, site: int = 0, frozen: Frozen | None = None) -> None:
        self.weights, self.site, self.frozen = weights, site, frozen

    def factors(self, batch: int) -> Tensor | None:
        """(batch, rank), what each low-rank channel is multiplied by in this layer; None without a gate.

        Raises:
            RuntimeError: there is a gate and no omega is set, or it is for another batch size.
        """
        return None if self.weights is None else self.weights.factors_for(batch, self.site)

    def supports_lora_conversion(self) -> bool:
        """Only without a gate: a gated adapter differs from sequence to sequence."""
        return self.weights is None

    def forward(  # type: ignore[override]
        self,
        module: LoraLayer,
        active_adapter: str,
        x: Tensor,
        result: Tensor,
        frozen: Frozen | None = None,
        **_: Any,
    ) -> Tensor:
        """Adds alpha/r * B(scale * (A x)) to the frozen layer's output.

        Args:
            module: the peft layer that holds A and B.
            active_adapter: name of the adapter inside `module`.
            x: (batch, tokens, in) input.
            result: (batch, tokens, out) output of the frozen layer.
            frozen: that layer, if `result` came about without a gradient.
        """
        down: Tensor = module.lora_A[active_adapter].get_parameter("weight")  # (rank, in)
        up: Tensor = module.lora_B[active_adapter].get_parameter("weight")  # (out, rank)
        factors = self.factors(len(x))
        if factors is None:
            factors = torch.ones(1, len(down), device=x.device)
        x = module.lora_dropout[active_adapter](x)
        scaling = module.scaling[active_adapter]
        output: Tensor = LowRank.apply(result.to(x.dtype), x, down, up, factors, scaling, frozen)  # type: ignore[no-untyped-call]
        return output.to(result.dtype)

    def whole(self, module: LoraLayer, active_adapter: str, x: Tensor) -> Tensor:
        """The frozen layer and its adapter as one step, whose gradient of `x` takes one pass over memory."""
        frozen = self.frozen or Frozen(module.get_base_layer())
        return self.forward(module, active_adapter, x, frozen(x), frozen)

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
    found: list[tuple[str, Any]] = [
        (name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)
    ]
    if not found:
        raise ValueError("the model has no LoRA layer to adapt")
    numbers = [layer_number(name) for name, _ in found]
    keys = {"shared": [0] * len(found), "per-layer": numbers, "per-module": list(range(len(found)))}[scope]
    sites = {key: site for site, key in enumerate(dict.fromkeys(keys))}
    layers = [numbers[keys.index(key)] for key in sites]
    rank = found[0][1].r[adapter]
    if experts is not None and rank % experts:
        raise ValueError(f"{experts} experts do not divide rank {rank}")
    weights = None if experts is None else ExpertWeights(experts, rank, layers)
    layer_sizes = [int(module.in_features * module.out_features) for _, module in found]
    keeps = sum(layer_sizes) <= KEPT and not parallel.is_sharded()
    for (_, module), key in zip(found, keys, strict=True):
        frozen = Frozen(module.get_base_layer(), keeps) if keeps else None
        module.lora_variant[adapter] = ExpertLora(weights, sites[key], frozen)
        module.cast_input_dtype_enabled = False
        vars(module)["forward"] = partial(run_adapted, module, adapter)
    return weights


def run_adapted(module: Any, adapter: str, x: Tensor, *rest: Any, **more: Any) -> Tensor:
    """What an adapted layer answers: in one step where that can be, else as peft goes about it."""
    known = Frozen.accepts(module.get_base_layer()) and not (rest or more)
    dropping = module.training and not isinstance(module.lora_dropout[adapter], nn.Identity)
    if known and not (dropping or module.disable_adapters or module.merged):
        variant: ExpertLora = module.lora_variant[adapter]
        return variant.whole(module, adapter, x)
    answer: Tensor = type(module).forward(module, x, *rest, **more)
    return answer


def layer_number(name: str) -> int:
    """The transformer layer that a module's dotted name places it in; 0 where there is none."""
    return next((int(part) for part in name.split(".") if part.isdigit()), 0)


def expert_slice(tensor: Tensor, expert: int, experts: int, dim: int) -> Tensor:
    """The part of A (dim 0) or B (dim 1) that belongs to one expert: r/K rows or columns."""
    return torch.chunk(tensor, experts, dim=dim)[expert]
