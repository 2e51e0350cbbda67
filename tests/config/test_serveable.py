"""`--serveable` is a bundle of settings, and what it trains needs nothing that a plain server lacks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.config.presets import PRESETS
from core.config.serveable import SERVEABLE, obstacles, with_serveable
from core.config.settings import RunConfig
from core.errors import InputError
from ilora_app.cli.options import RUN_OPTIONS, run_config
from tests import tiny
from tests.ilora.test_model import adapted, stirred

NOTHING: dict[str, Any] = {option.name: None for option in RUN_OPTIONS}


def serveable(preset: str = "quick", **given: Any) -> RunConfig:
    return run_config(preset, {**NOTHING, "serveable": True, **given})


@pytest.mark.parametrize("preset", PRESETS[:-1])
def test_every_preset_becomes_one_that_a_plain_server_ranks_with(preset: str) -> None:
    assert obstacles(run_config(preset, NOTHING))
    config = serveable(preset)
    assert obstacles(config) == []
    assert config.adapter.layers == 0
    assert config.gate.scope == "shared"


def test_other_options_stay_free() -> None:
    config = serveable(samples=48, layers=6, experts=2, gate="mlp")
    assert (config.training.samples, config.adapter.layers, config.adapter.experts) == (48, 6, 2)
    assert obstacles(config) == []


@pytest.mark.parametrize(
    "given",
    [{"gate_scope": "per-layer"}, {"objective": "listwise"}, {"curriculum": True}, {"encoder_prior": True}],
    ids=str,
)
def test_an_option_that_a_server_cannot_do_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="--serveable means"):
        serveable(**given)


def test_without_the_option_nothing_changes() -> None:
    assert run_config("quick", {**NOTHING, "serveable": False}) == run_config("quick", NOTHING)


@pytest.mark.usefixtures("tiny_home")
def test_its_scores_are_those_of_the_language_model_alone_on_plain_text() -> None:
    """Each title by itself after the prompt, by peft's model under the gate, with no mask and no slot."""
    from core.config.presets import with_overrides

    settings = with_overrides(tiny.config(), **with_serveable({}))
    model = stirred(adapted(settings=settings))
    model.train(False)
    prompt: Any = model.ranker.prompt
    (history,), (row,) = tiny.histories(1), tiny.candidates(1, size=5)
    with torch.no_grad():
        found = model.scores([history], [row])[0]
        before = [token for piece in prompt.prefix(history, row) for token in piece.tokens.tolist()]
        expected = []
        for item in row:
            title = prompt.answer(item).tokens.tolist()
            ids = torch.tensor([before + title])
            with model._gated([history]):
                chances = model.peft(input_ids=ids).logits[0].log_softmax(-1)
            places = range(len(before) - 1, len(before) + len(title) - 1)
            expected.append(sum(float(chances[at, token]) for at, token in zip(places, title, strict=True)))
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-4)
    assert SERVEABLE["training"]["item_slots"] is False
