"""What a language model is built of, told from its modules: its layers, and what of them can be adapted.

Nothing here goes by the names that a family gives its layers.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.pytorch_utils import Conv1D

from core.errors import ModelError

KINDS_HINT = (
    "docs/models.md lists the kinds of models that work, such as Llama, Qwen, Mistral, Gemma and GPT-2"
)

_RECURRENT = r"(^|\.)(A_log|dt_bias|time_decay|time_mix\w*|[fi]gate_preact\.weight)$"
"""Weights that only layers with a memory of their own have: Mamba's, RWKV's, xLSTM's."""


def decoder_of(model: Any) -> nn.Module:
    """The part of a causal language model that makes states of tokens."""
    found: nn.Module = model.get_decoder()
    inner = getattr(model, "model", None)
    return inner if found is model and isinstance(inner, nn.Module) else found


def layer_list(decoder: nn.Module) -> tuple[str, nn.ModuleList]:
    """The name and the list of a decoder's transformer layers.

    Raises:
        ModelError: there is no list of as many layers as the model's settings promise.
    """
    depth = decoder.config.num_hidden_layers  # type: ignore[union-attr]
    found = [
        (sum(p.numel() for p in child.parameters()), name, child)
        for name, child in decoder.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == depth
    ]
    if not found:
        raise ModelError(f"{type(decoder).__name__} does not hold its layers in a list", KINDS_HINT)
    _, name, layers = max(found, key=lambda entry: entry[0])
    return name, layers


def layers_of(decoder: nn.Module) -> list[nn.Module]:
    """A decoder's transformer layers, lowest first."""
    return list(layer_list(decoder)[1])


def linear_names(decoder: nn.Module) -> list[str]:
    """What the linear layers inside a decoder's layers are called, each name once; fused ones, too."""
    names = (
        name.rpartition(".")[2]
        for layer in layers_of(decoder)
        for name, module in layer.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    )
    return sorted(set(names))


def linear_outside(model: nn.Module, names: Collection[str]) -> list[str]:
    """Paths of linear layers of these names outside the decoder's layers: those that read pictures, say."""
    inside = {part for layer in layers_of(decoder_of(model)) for part in layer.modules()}
    return [
        path
        for path, part in model.named_modules()
        if isinstance(part, nn.Linear | Conv1D) and part not in inside and path.rpartition(".")[2] in names
    ]


def choose_targets(decoder: nn.Module, asked: Sequence[str], default: Sequence[str]) -> list[str]:
    """The names of the linear layers that get an adapter.

    Args:
        decoder: the language model's.
        asked: the setting; Llama's names stand for all linear layers in a model that lacks some of them.
        default: that setting as it comes.

    Raises:
        ModelError: names were asked for that no linear layer has.
    """
    names = linear_names(decoder)
    absent = [name for name in asked if name not in names]
    if not absent:
        return list(asked)
    if tuple(asked) != tuple(default):
        raise ModelError(
            f"the model has no layer named {', '.join(absent)}",
            f"its layers hold {', '.join(names)}" if names else KINDS_HINT,
        )
    if not names:
        raise ModelError("the model has no linear layer that could be adapted", KINDS_HINT)
    return names


def obstacle(model: Any) -> str | None:
    """What in a model's layers this program cannot read rightly or adapt, in words; None where all is well.

    Args:
        model: a causal language model, also one without weights (on the device `meta`).
    """
    decoder = decoder_of(model)
    config: Any = decoder.config
    kinds = set(getattr(config, "layer_types", None) or ())
    layers = layers_of(decoder)
    modules = [module for layer in layers for module in layer.modules()]
    own = [(name, p) for layer in layers for name, p in layer.named_parameters()]
    if any(isinstance(module, nn.Conv1d) for module in modules) or any(
        re.search(_RECURRENT, name) for name, _ in own
    ):
        return "state-space or linear-attention layers, which no mask can keep from mixing candidates"
    if strange := sorted(kinds - {"full_attention", "sliding_attention", "chunked_attention"}):
        return f"layers of the kind {strange[0]}, which no mask can keep from mixing candidates"
    if any(p.ndim > 2 for _, p in own) or any(
        isinstance(module, nn.ModuleList) and len(module) > 1 and _is_bulk(module, layer)
        for layer in layers
        for module in layer.modules()
    ):
        return "layers of a mixture of experts, whose weights cannot be adapted one by one"
    embedding = model.get_input_embeddings()
    if embedding.weight.shape[1] != config.hidden_size:
        return "embeddings of another width than its layers"
    if getattr(config, "is_encoder_decoder", False):
        return "an encoder beside its decoder"
    return None


def _is_bulk(part: nn.Module, layer: nn.Module) -> bool:
    """Whether a part holds most of a layer's weights, as a list of experts does."""
    sizes = [sum(p.numel() for p in module.parameters()) for module in (part, layer)]
    return sizes[0] > sizes[1] / 2


def window_of(config: Any) -> int | None:
    """How many positions a layer with a sliding window sees, its own included; None without such layers."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if not window or (kinds and "sliding_attention" not in kinds):
        return None
    return int(window)


def has_unknown_window(config: Any) -> bool:
    """Whether the settings speak of windows that only the model's own code knows how to apply."""
    known = "sliding_window", "use_sliding_window", "max_window_layers", "sliding_window_pattern"
    speaks = [
        name
        for name, value in vars(config).items()
        if re.search("window|chunk_size$", name) and name.lstrip("_") not in known and value
    ]
    return bool(speaks) or "chunked_attention" in (getattr(config, "layer_types", None) or ())


def holds_transposed(decoder: nn.Module) -> bool:
    """Whether the layers' weights lie (in, out), as GPT-2's do, unlike a linear layer's."""
    return any(isinstance(module, Conv1D) for layer in layers_of(decoder) for module in layer.modules())


def run_head(model: Any, states: Tensor) -> Tensor:
    """(n, vocabulary) logits of (n, width) last states, by what a model does after its decoder."""
    decoder = decoder_of(model)
    path = next(name for name, module in model.named_modules() if module is decoder)
    head = _with(model, path.split("."), _Answer(states[None]))
    logits: Tensor = head(inputs_embeds=states[None], use_cache=False).logits
    return logits[0]


def _with(module: nn.Module, path: Sequence[str], part: nn.Module) -> nn.Module:
    """A module that shares everything with another one but the part at a path."""
    if not path:
        return part
    other = copy.copy(module)
    for name in (
        "forward",
        "_hf_hook",
        "_old_forward",
    ):  # put there by accelerate, bound to `module`
        vars(other).pop(name, None)
    vars(other)["_modules"] = {**module._modules, path[0]: _with(getattr(module, path[0]), path[1:], part)}
    return other


class _Answer(nn.Module):
    """Stands in a decoder's place and answers with states that are known."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states

    def forward(self, *_: Any, **__: Any) -> _Known:
        return _Known(last_hidden_state=self.states)


class _Known(BaseModelOutputWithPast):
    """Last states, and none of whatever else a family's output may hold."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
