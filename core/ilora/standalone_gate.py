"""A shared gate without torch: the arrays and facts it is made of, and the code that reads them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from core.encoders.joined import JoinedEncoder
from core.errors import InputError
from core.ilora import gate_in_numpy
from core.ilora.gate import (
    Gate,
    MeanInput,
    MlpGate,
    RandomFixedGate,
    RandomInput,
    SoftmaxGate,
    TopKGate,
    UniformGate,
)

if TYPE_CHECKING:
    from core.ilora.model import AdaptedModel

LONGEST_CODE = 30
"""Lines of the printed code at most."""


@dataclass(frozen=True)
class StandaloneGate:
    """What `omega` needs."""

    weights: Mapping[str, Tensor]
    """For gate.safetensors; float32, on the CPU."""
    facts: Mapping[str, Any]
    """For gate.json."""
    code: str
    """Python that defines `omega(weights, facts, history)`, an array (K,), with numpy alone."""


def check_one_gate(scope: str, method: str, gated: bool) -> None:
    """Raises `InputError` unless a run has one gate, whose experts are LoRA files of their own."""
    hint = "ilora-app train --serveable makes a run that can"
    if not gated:
        raise InputError(f"a run of {method} has no experts to export", hint)
    if scope != "shared":
        raise InputError(
            f"this run's gate is {scope}: experts have other weights in every {scope.removeprefix('per-')}, "
            "and a server takes one scale per adapter",
            hint,
        )


def standalone(model: AdaptedModel, ids: Sequence[str], max_history: int) -> StandaloneGate:
    """The gate of an iLoRA whose layers share one, taken apart.

    Args:
        model: trained, with a gate.
        ids: the catalogue's.
        max_history: items of a history that are read, the last ones.

    Raises:
        InputError: there is no gate, or several, or one of a kind that plain numpy would not state shortly.
    """
    gate = model.gate
    check_one_gate(model.config.gate.scope, "LoRA", gate is not None)
    assert gate is not None
    weights, weigh = _gate_weights(gate, model.encoder.width)
    facts: dict[str, Any] = {
        "format": 1,
        "experts": gate.experts,
        "scale": gate.experts,
        "gate": model.config.gate.kind,
        "kept": gate.kept if isinstance(gate, TopKGate) else gate.experts,
        "reads": model.config.gate.input,
        "max_history": max_history,
    }
    source = model.gate_input
    if source is None and isinstance(model.encoder, JoinedEncoder):
        raise InputError(
            "a gate that reads the encoders of several datasets cannot be exported", "train on one dataset"
        )
    if source is None:
        config = model.encoder.config
        facts |= {"encoder": model.encoder.kind, "layers": config.layers, "heads": config.heads}
        weights |= dict(model.encoder.state_dict())
        read: Callable[..., Any] = getattr(gate_in_numpy, model.encoder.kind)
    elif isinstance(source, MeanInput):
        weights |= {"sums": source.sums, "counts": source.counts}
        read = gate_in_numpy.mean
    elif isinstance(source, RandomInput):
        facts["width"] = source.width
        read = gate_in_numpy.random
    else:
        raise TypeError("weights that were decided beforehand are no gate")
    facts["places"] = {item: place for place, item in enumerate(ids)}
    arrays = {name: tensor.detach().float().cpu().contiguous().clone() for name, tensor in weights.items()}
    return StandaloneGate(arrays, facts, _code(read, weigh))


def _gate_weights(gate: Gate, width: int) -> tuple[dict[str, Tensor], Callable[..., Any]]:
    """The gate's own arrays, and the function that makes logits of z with them."""
    if isinstance(gate, SoftmaxGate):
        return {"gate.W": gate.linear.weight}, gate_in_numpy.linear
    if isinstance(gate, RandomFixedGate):
        return {"gate.W": gate.weight}, gate_in_numpy.linear
    if isinstance(gate, UniformGate):
        return {"gate.W": torch.zeros(gate.experts, width)}, gate_in_numpy.linear
    if isinstance(gate, MlpGate):
        first, _, last = gate.layers
        names = {
            "gate.hidden": first.weight,
            "gate.hidden_bias": first.bias,
            "gate.W": last.weight,
            "gate.bias": last.bias,
        }
        return {
            name: tensor for name, tensor in names.items() if isinstance(tensor, Tensor)
        }, gate_in_numpy.mlp
    raise InputError(
        "a resnet gate cannot be exported: it is no few lines of numpy", "train with --gate softmax"
    )


def _code(read: Callable[..., Any], weigh: Callable[..., Any]) -> str:
    """The functions as one text, their names as `omega` calls them."""
    parts = [inspect.getsource(part).strip() for part in (read, weigh, gate_in_numpy.weigh)]
    called = (
        "def omega(weights, facts, history):\n"
        f"    return weigh({weigh.__name__}(weights, facts, {read.__name__}(weights, facts, history)), facts)"
    )
    return "\n".join(["import math", "import numpy as np", *parts, called]) + "\n"
