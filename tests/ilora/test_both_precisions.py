"""What holds in fp32 holds in bf16, too: the identities that the method and its training rest on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from core.ilora.folding import save_updates
from core.ilora.layers import ADAPTER
from core.ilora.model import AdaptedModel
from core.lm.precision import DTYPES
from tests import tiny
from tests.ilora.test_layers import tokens
from tests.ilora.test_model import adapted, gradients, stirred
from tests.recommenders.test_adapter import fitted, sessions, settings

pytestmark = pytest.mark.usefixtures("tiny_home")
PRECISIONS = ("float32", "bfloat16")
BITS = {"float32": 1e-4, "bfloat16": 0.06}
"""How far rounding may move what is computed, relative to how large it is."""


def made(precision: str, gated: bool = True, seed: int = 3) -> AdaptedModel:
    """A model with random trained weights, computed in this precision."""
    model = stirred(adapted(gated, llm=tiny.language_model(dtype=DTYPES[precision])), seed)
    model.train(False)
    return model


def off(found: Tensor, expected: Tensor) -> float:
    """The difference of two tensors, relative to the size of the second."""
    return float((found.float() - expected.float()).norm() / expected.float().norm())


@torch.no_grad()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_candidates_packed_in_one_row_score_as_one_by_one(precision: str) -> None:
    model, histories, candidates = made(precision), tiny.histories(2), tiny.candidates(2)
    packed = model.scores(histories, candidates)
    alone = torch.cat(
        [
            torch.cat([model.scores([history], [[item]]) for item in row], dim=1)
            for history, row in zip(histories, candidates, strict=True)
        ]
    )
    assert off(packed - packed.mean(), alone - packed.mean()) < BITS[precision]


@torch.no_grad()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_uniform_gate_scores_as_lora(precision: str) -> None:
    lora, ilora = made(precision, gated=False), made(precision)
    ilora.load_state({**lora.state(), "gate.linear.weight": torch.zeros(4, 16)})
    found, expected = (model.scores(tiny.histories(2), tiny.candidates(2)) for model in (ilora, lora))
    assert off(found, expected) < BITS[precision]


@torch.no_grad()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_folded_adapter_answers_as_the_gated_one(precision: str, tmp_path: Path) -> None:
    model, ids = made(precision), tokens(batch=1)
    (history,) = tiny.histories(1)
    with model._gated([history]):
        expected = model.peft.eval()(input_ids=ids).logits
    save_updates(tmp_path, model.folded(history), model.peft.peft_config[ADAPTER], "tiny-llama")
    plain = PeftModel.from_pretrained(tiny.llama(dtype=DTYPES[precision]), tmp_path)
    assert off(plain(input_ids=ids).logits, expected) < BITS[precision]


def test_gradients_in_bf16_point_where_those_in_fp32_do() -> None:
    expected, found = (gradients(made(precision)) for precision in PRECISIONS)
    assert found.keys() == expected.keys()
    del expected["ranker.head.bias"]  # it moves all candidates alike: no gradient but rounding
    for name, gradient in expected.items():
        assert found[name].dtype == torch.float32, name  # the optimizer's weights are in full precision
        likeness = torch.cosine_similarity(found[name].flatten(), gradient.flatten(), dim=0)
        assert float(likeness) > 0.98, name


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_stopped_training_ends_bit_by_bit_as_one_left_alone(
    precision: str, tmp_path: Path, tiny_model: Path
) -> None:
    config = settings(tiny_model, samples=12)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, precision=precision))
    whole = fitted("ilora", tiny.task(config, tmp_path / "whole"))
    parts, interrupted = sessions("ilora", tiny.task(config, tmp_path / "parts"), [2, 1])
    assert interrupted == 2
    assert whole.model.llm.dtype is DTYPES[precision]
    for name, tensor in parts.model.state().items():
        assert torch.equal(tensor, whole.model.state()[name]), name


@torch.no_grad()
@pytest.mark.parametrize("trained", PRECISIONS)
def test_a_run_of_one_precision_opens_in_the_other(trained: str, tmp_path: Path) -> None:
    model = made(trained)
    model.round()
    model.save(tmp_path)
    other = made(next(name for name in PRECISIONS if name != trained), seed=4)
    other.load(tmp_path)
    histories, candidates = tiny.histories(2), tiny.candidates(2)
    found, expected = other.scores(histories, candidates), model.scores(histories, candidates)
    assert off(found - expected.mean(), expected - expected.mean()) < BITS["bfloat16"]
