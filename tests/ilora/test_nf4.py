"""Four bits are a way to hold weights, not another model: answers and gradients are those of their values."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from torch import Tensor, nn

from core.data.card_files import load_card
from core.ilora.model import AdaptedModel
from tests import tiny

HISTORIES, CANDIDATES, TARGETS = tiny.histories(3), tiny.candidates(3), [3, 0, 19]

pytestmark = pytest.mark.usefixtures("tiny_home")


def dequantized(model: Any) -> Any:
    """The same values as ordinary weights."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, Linear4bit):
                values = dequantize_4bit(child.weight.data, child.weight.quant_state).float()
                plain = nn.Linear(child.in_features, child.out_features, bias=False)
                plain.weight = nn.Parameter(values, requires_grad=False)
                setattr(module, name, plain)
    return model


def answers_and_gradients(model: Any, gated: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Scores of all candidates, and what one step would learn, with every layer adapted."""
    settings = tiny.config()
    settings = dataclasses.replace(settings, adapter=dataclasses.replace(settings.adapter, layers=0))
    llm, prompts = tiny.as_language_model(model), load_card("tiny").prompts
    made = AdaptedModel(llm, tiny.encoder(), tiny.TITLES, prompts, settings, gated, 0)
    for part in (made.peft, made.ranker, *([made.gate] if made.gate is not None else [])):
        tiny.randomize(part, std=0.1)
    made.train()
    with made.loss(HISTORIES, CANDIDATES, TARGETS) as loss:
        loss.backward()
    gradients = {name: p.grad for name, p in made.parameters().items() if p.grad is not None}
    assert gradients.keys() == made.parameters().keys()
    made.train(False)
    with torch.no_grad():
        return made.scores(HISTORIES, CANDIDATES), gradients


@pytest.mark.parametrize("gated", [False, True], ids=["lora", "ilora"])
def test_nf4_answers_and_learns_as_its_dequantized_weights(tiny_model: Path, gated: bool) -> None:
    packed = tiny.nf4(tiny_model, torch.float32)
    assert sum(isinstance(module, Linear4bit) for module in packed.modules()) == 7 * tiny.LAYERS
    plain = dequantized(tiny.nf4(tiny_model, torch.float32))
    found, expected = (answers_and_gradients(model, gated) for model in (packed, plain))
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-4)
    for name, gradient in expected[1].items():
        torch.testing.assert_close(
            found[1][name], gradient, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
