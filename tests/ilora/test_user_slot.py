"""LoRA with z: the vector of the user enters the question, trains, is kept, and is all that is new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from core.config.settings import AnsweringConfig, RunConfig
from core.data.card_files import load_card
from core.ilora.model import AdaptedModel
from core.lm.listwise import ListwiseRanker
from core.methods import settle
from core.recommenders.adapter import LoraZ
from tests import tiny

HISTORIES, CANDIDATES = tiny.histories(3, seed=4), tiny.candidates(3)


@pytest.fixture(autouse=True)
def own_home(tiny_home: Path) -> Iterator[None]:
    yield


def adapted(knows_user: bool) -> AdaptedModel:
    """LoRA around a random language model and encoder, with or without the user's vector."""
    prompts = load_card("tiny").prompts
    llm, encoder = tiny.language_model(), tiny.encoder()
    made = AdaptedModel(llm, encoder, tiny.TITLES, prompts, tiny.config(), False, 0, knows_user=knows_user)
    made.train(False)
    with torch.no_grad():
        made.ranker.head.weight.copy_(torch.linspace(-1, 1, tiny.WIDTH)[None])
    return made


def projector(model: AdaptedModel) -> torch.nn.Linear:
    assert isinstance(model.ranker, ListwiseRanker) and model.ranker.user is not None
    return model.ranker.user.projector


@torch.no_grad()
def test_it_starts_as_lora_does_and_with_nothing_from_z_answers_as_lora_does() -> None:
    plain, told = adapted(False), adapted(True)
    assert {*told.parameters()} - {*plain.parameters()} == {
        "ranker.user.projector.weight", "ranker.user.projector.bias",
    }  # fmt: skip
    for name, parameter in plain.parameters().items():
        assert torch.equal(parameter, told.parameters()[name]), name
    lora, with_z = (model.scores(HISTORIES, CANDIDATES) for model in (plain, told))
    assert (lora - with_z).abs().max() > 1e-3
    projector(told).weight.zero_()
    assert torch.equal(told.scores(HISTORIES, CANDIDATES), lora)


@torch.no_grad()
def test_a_row_sees_its_own_users_vector_and_nobody_elses() -> None:
    told = adapted(True)
    alone = [told.scores([history], [row]) for history, row in zip(HISTORIES, CANDIDATES, strict=True)]
    torch.testing.assert_close(told.scores(HISTORIES, CANDIDATES), torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_its_projector_trains_with_the_projectors() -> None:
    told = adapted(True)
    told.train()
    with told.loss(HISTORIES, CANDIDATES, [0, 1, 2]) as loss:
        loss.backward()
    weight = projector(told).weight
    assert weight.grad is not None and weight.grad.abs().max() > 0
    assert isinstance(told.ranker, ListwiseRanker)
    of_items = told.ranker.slots.projector.weight
    (group,) = (g["params"] for g in told.parameter_groups() if any(one is of_items for one in g["params"]))
    assert any(one is weight for one in group)


def test_it_is_listwise_and_ranks_whatever_the_others_do() -> None:
    asked = tiny.config(objective="language-model", curriculum=True)
    asked = RunConfig(**{**vars(asked), "answering": AnsweringConfig("generate")})
    settled = settle(asked, "lora-z")
    assert (settled.training.objective, settled.training.curriculum) == ("listwise", False)
    assert settled.answering.protocol == "rank"
    assert settle(tiny.config(encoder_prior=True), "lora-z").training.encoder_prior


def test_a_trained_one_is_saved_and_opened_with_the_same_scores(tmp_path: Path, tiny_model: Path) -> None:
    task = tiny.task(tiny.config(tiny_model, samples=8), tmp_path)
    first, again, folder = LoraZ(), LoraZ(), tmp_path / "run"
    first.fit(task)
    folder.mkdir()
    first.save(folder)
    again.load(folder, task)
    np.testing.assert_array_equal(again.score(HISTORIES, CANDIDATES), first.score(HISTORIES, CANDIDATES))
