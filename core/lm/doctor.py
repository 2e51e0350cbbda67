"""What works on this machine: each quantization tried on one layer, a model's memory before it is fetched."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.assets.cache import find
from core.assets.known import EMBEDDED_MODEL
from core.config.choices import QUANTIZATIONS
from core.config.settings import ModelConfig
from core.errors import ModelError
from core.lm.loading import BYTES_PER_WEIGHT, disable_cpu_packing, load_llm, pick_device, quiet, resolve_model
from core.lm.precision import name_of, pick_dtype
from core.lm.shape import settings_folder

WIDTH = 64
COARSE = {"nf4": 0.3, "int8": 0.05, "none": 0.02}
"""Largest error of a layer's output, relative to the output's norm, that its precision explains."""


@dataclass(frozen=True)
class Trial:
    """One quantization, tried on one small layer, forward and backward."""

    quantize: str
    works: bool
    note: str
    """Why it does not work, or the milliseconds that it took."""


@dataclass(frozen=True)
class Size:
    """What a model's weights take, from its settings alone."""

    model: str
    parameters: int
    quantized: int
    """Those in linear layers, which a quantization shrinks; the rest stays in `precision`."""
    precision: str
    """What is computed in here."""
    bytes: dict[str, int]
    """Quantization -> estimated bytes of the loaded weights."""


def try_quantizations(precision: str = "auto") -> list[Trial]:
    """Each quantization in turn, in this precision."""
    return [try_quantization(kind, precision) for kind in QUANTIZATIONS]


def try_quantization(kind: str, precision: str = "auto") -> Trial:
    """Whether a layer of this kind multiplies rightly and, also after evaluation, gives its input a gradient.

    Whatever goes wrong in the libraries is the answer, not an error.
    """
    device, started = pick_device(kind), time.perf_counter()
    dtype = pick_dtype(device, precision)
    torch.manual_seed(0)
    weight = torch.randn(WIDTH, WIDTH) / WIDTH**0.5
    try:
        layer = quantized_linear(kind, weight, device, dtype)
        disable_cpu_packing(layer)
        x = torch.randn(3, WIDTH, device=device, dtype=dtype, requires_grad=True)
        with torch.no_grad():
            layer.eval()(x)
        layer.train()
        y: Tensor = layer(x)
        y.float().square().sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # any failure at all means: not here
        return Trial(kind, False, next(iter(str(error).splitlines()), type(error).__name__))
    expected = x.detach().float() @ weight.to(device).T
    off = float((y.detach().float() - expected).norm() / expected.norm())
    if x.grad is None or not bool(x.grad.isfinite().all()) or not bool(x.grad.any()):
        return Trial(kind, False, "gives no gradient to its input")
    if off > COARSE[kind]:
        return Trial(kind, False, f"its output is {100 * off:.0f} % off")
    return Trial(kind, True, f"{1000 * (time.perf_counter() - started):.0f} ms, {100 * off:.1f} % off")


def quantized_linear(kind: str, weight: Tensor, device: torch.device, dtype: torch.dtype) -> Any:
    """A linear layer with this (out, in) weight, held as the quantization holds it."""
    wide, narrow = weight.shape[1], weight.shape[0]
    if kind == "none":
        plain = nn.Linear(wide, narrow, bias=False)
        plain.weight = nn.Parameter(weight, requires_grad=False)
        return plain.to(device=device, dtype=dtype)
    import bitsandbytes

    kinds: Any = bitsandbytes.nn

    if kind == "int8":
        layer = kinds.Linear8bitLt(wide, narrow, bias=False, has_fp16_weights=False)
        layer.weight = kinds.Int8Params(weight.to(dtype), requires_grad=False, has_fp16_weights=False)
    else:
        layer = kinds.Linear4bit(
            wide, narrow, bias=False, compute_dtype=dtype, compress_statistics=True, quant_type="nf4"
        )
        layer.weight = kinds.Params4bit(
            weight.to(dtype), requires_grad=False, compress_statistics=True, quant_type="nf4"
        )
    return layer.to(device)


def model_size(config: ModelConfig) -> Size:
    """How much memory a model's weights will take; of a hub model only `config.json` is fetched.

    Raises:
        ModelError: there is no such model, the hub cannot be reached, or it is no causal language model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = _settings_folder(config)
    try:
        with quiet(), torch.device("meta"):
            settings = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            model = AutoModelForCausalLM.from_config(settings)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(
            f"{config.name} cannot be sized: {reason}", "give a causal language model"
        ) from error
    output = model.get_output_embeddings()
    own = {id(p): p for p in model.parameters()}
    if settings.get_text_config().tie_word_embeddings and output is not None:
        own.pop(id(output.weight), None)
        own[id(model.get_input_embeddings().weight)] = model.get_input_embeddings().weight
    linear = {
        id(module.weight): module.weight.numel()
        for module in model.modules()
        if isinstance(module, nn.Linear) and module is not output
    }
    total, shrunk = sum(p.numel() for p in own.values()), sum(linear.values())
    sizes, precision = {}, ""
    for kind in QUANTIZATIONS:
        dtype = pick_dtype(pick_device(kind), config.precision)
        each = BYTES_PER_WEIGHT.get(kind, dtype.itemsize)
        sizes[kind] = int(dtype.itemsize * (total - shrunk) + each * shrunk)
        precision = precision or name_of(dtype)
    return Size(config.name, total, shrunk, precision, sizes)


def _settings_folder(config: ModelConfig) -> Path:
    """Where the model's config.json is; a GGUF file is converted, of a hub model nothing else is fetched."""
    return settings_folder(config) or resolve_model(config)


def weight_bytes(model: nn.Module) -> int:
    """Bytes that a loaded model's weights take, the statistics of quantized ones included."""
    total = sum(buffer.nbytes for buffer in model.buffers())
    for parameter in model.parameters():
        total += parameter.nbytes + _statistics_bytes(getattr(parameter, "quant_state", None))
        total += sum(t.nbytes for t in (getattr(parameter, "SCB", None),) if isinstance(t, Tensor))
    return total


def _statistics_bytes(state: Any) -> int:
    if state is None:
        return 0
    own = sum(t.nbytes for t in (state.absmax, state.code, state.offset) if isinstance(t, Tensor))
    return own + _statistics_bytes(state.state2)


def embedded_check() -> tuple[int, int] | None:
    """Estimated and measured bytes of the embedded model in 4 bit; None where it has not been fetched.

    Raises:
        ModelError: it cannot be loaded.
    """
    if find(EMBEDDED_MODEL.asset) is None:
        return None
    config = ModelConfig()
    return model_size(config).bytes["nf4"], weight_bytes(load_llm(config).model)
