"""MoRec knows items by their titles alone, which the language model reads once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.config.settings import EncoderConfig
from core.encoders.morec import MoRec
from core.errors import ResultError
from core.events import Event, Notice
from core.lm import loading
from core.lm import title_vectors as title_vectors_module
from core.lm.loading import LanguageModel, load_llm
from core.lm.prompts import MAX_TITLE_TOKENS
from core.lm.title_vectors import title_vectors
from core.recommenders.encoders import ENCODER_FILE
from core.recommenders.registry import method_class
from core.stages import Watch
from tests import tiny

pytestmark = pytest.mark.usefixtures("tiny_home")
TITLES = [*tiny.TITLES[:9], "A Much Longer Title Than Any Other: The Return of the Amber Fox", "X", ""]


def vectors(titles: Sequence[str] = TITLES, llm: LanguageModel | None = None, **more: Any) -> Tensor:
    return title_vectors(llm or tiny.language_model(), titles, **more)


@torch.no_grad()
def test_a_titles_vector_is_the_mean_state_over_its_own_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever shares the pass; the token that starts the text is read but not counted."""
    monkeypatch.setattr(title_vectors_module, "TITLES_PER_PASS", 4)
    llm = tiny.language_model()
    found = vectors(llm=llm)
    for title, vector in zip(TITLES, found, strict=True):
        spoken = llm.tokenizer(f" {title}", add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[0, *spoken[:MAX_TITLE_TOKENS]]])
        states = llm.model(ids, output_hidden_states=True).hidden_states[1]  # a third of four layers
        torch.testing.assert_close(vector, states[0, 1:].mean(0), rtol=1e-4, atol=1e-5)


def test_titles_are_read_once_and_again_where_the_file_is_damaged(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = vectors()
    (store,) = (tiny_home / "titles").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(title_vectors_module, "_mean_states", lambda *_: pytest.fail("titles were read again"))
        assert torch.equal(vectors(), first)
    store.write_bytes(b"half a file")
    events: list[Event] = []
    assert torch.equal(vectors(watch=Watch(events.append)), first)
    assert [event.text for event in events if isinstance(event, Notice) and "is damaged" in event.text]
    assert torch.equal(vectors(), first)


def test_other_titles_and_other_models_have_files_of_their_own(tiny_home: Path) -> None:
    first = vectors()
    vectors(TITLES[::-1])
    assert not torch.equal(vectors(llm=tiny.language_model(seed=1)), first)
    assert len(list((tiny_home / "titles").iterdir())) == 3


def test_the_title_vectors_stay_while_everything_else_learns(tmp_path: Path, tiny_model: Path) -> None:
    task = tiny.task(tiny.config(tiny_model), tmp_path)
    recommender: Any = method_class("morec")()
    report = recommender.fit(task)
    titles = vectors(task.dataset.catalogue.titles, load_llm(task.config.model))
    torch.manual_seed(task.seed)
    untrained = MoRec(titles, task.config.encoder, 10)
    assert torch.equal(recommender.model.titles, untrained.titles)
    moved = {
        name: not torch.equal(weight, recommender.model.get_parameter(name))
        for name, weight in untrained.named_parameters()
    }
    assert moved.pop("items.weight") is False  # the padding
    assert all(moved.values()), moved
    assert report.trainable_parameters == sum(p.numel() for p in untrained.parameters())
    assert report.load_seconds > 0


def test_items_of_one_title_are_one_item() -> None:
    """What it knows of an item is the title's vector and nothing else."""
    torch.manual_seed(0)
    titles = torch.randn(40, 64)
    titles[7] = titles[3]
    model = MoRec(titles, EncoderConfig(width=16, layers=1, heads=2), 10).freeze()
    assert torch.equal(model.item_vectors()[7], model.item_vectors()[3])
    torch.testing.assert_close(model.represent([[1, 7]]), model.represent([[1, 3]]))
    assert not torch.allclose(model.represent([[1, 7]]), model.represent([[1, 4]]))
    scores = model.score(model.represent([[1]]), torch.tensor([[7, 3, 4]]))
    assert scores[0, 0] == scores[0, 1] != scores[0, 2]


def test_a_saved_morec_answers_without_the_language_model(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tiny.task(tiny.config(tiny_model), tmp_path / "work")
    recommender = method_class("morec")()
    recommender.fit(task)
    (tmp_path / "run").mkdir()
    recommender.save(tmp_path / "run")
    monkeypatch.setattr(loading, "_load", lambda *_: pytest.fail("the language model was loaded"))
    again: Any = method_class("morec")()
    again.load(tmp_path / "run", task)
    histories, candidates = tiny.histories(4), tiny.candidates(4)
    np.testing.assert_array_equal(
        again.score(histories, candidates), recommender.score(histories, candidates)
    )
    assert not again.model.training
    (tmp_path / "run" / ENCODER_FILE).write_bytes(b"half a file")
    with pytest.raises(ResultError, match=ENCODER_FILE):
        again.load(tmp_path / "run", task)


def test_another_language_model_trains_another_morec(tmp_path: Path, tiny_model: Path) -> None:
    task = tiny.task(tiny.config(tiny_model), tmp_path / "work")
    method_class("morec")().fit(task)
    tiny.llama(seed=1, dtype=torch.bfloat16).save_pretrained(tmp_path / "other")
    tiny.tokenizer().save_pretrained(tmp_path / "other")
    other = tiny.task(tiny.config(tmp_path / "other"), tmp_path / "work")
    method_class("morec")().fit(other)
    method_class("morec")().fit(dataclasses.replace(task))
    assert len(list((tmp_path / "work" / "encoders").iterdir())) == 2
