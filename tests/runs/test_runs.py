"""A run folder opens only if all of it is there and fits; then it answers as on the day it was trained."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.config.presets import with_overrides
from core.config.settings import ModelConfig
from core.data.card_files import load_card
from core.errors import IloraError, ModelError, ResultError
from core.methods import METHODS, method_names
from core.recommenders.base import Recommender
from core.recommenders.registry import method_class
from core.runs.model_card import front_matter
from core.runs.store import list_runs, open_run, read_run, result_of, run_folder, save_run
from tests import made_up, tiny

pytestmark = pytest.mark.usefixtures("tiny_home")
RESULT = made_up.result(created="2026-01-01T00:00:00+00:00")
Saved = tuple[Path, Recommender]


@pytest.fixture
def saved(tmp_path: Path, tiny_model: Path, request: pytest.FixtureRequest) -> Saved:
    """A finished run of a method (iLoRA unless the test asks for another)."""
    method = getattr(request, "param", "ilora")
    task = tiny.task(tiny.config(tiny_model, samples=8), tmp_path / "work")
    if METHODS[method].is_student:
        teacher = method_class("ilora")()
        teacher.fit(task)
        few = with_overrides(task.config, distillation={"candidates": 4, "histories": 8})
        task = dataclasses.replace(task, config=few, trained=teacher)
    recommender = method_class(method)()
    recommender.fit(task)
    path = run_folder(tmp_path / "out", "tiny", "paper", method, 0, "ab" * 32)
    return save_run(recommender, task, path, dataclasses.replace(RESULT, method=method)), recommender


@pytest.mark.parametrize("saved", method_names(lambda method: method.keeps_model), indirect=True)
def test_an_opened_run_scores_as_before(saved: Saved) -> None:
    path, recommender = saved
    opened = open_run(path)
    histories, candidates = tiny.histories(4), tiny.candidates(4)
    np.testing.assert_array_equal(
        opened.recommender.score(histories, candidates), recommender.score(histories, candidates)
    )
    assert opened.info.method == recommender.name
    assert opened.info.metrics["last"]["HR@1"] == RESULT.metrics["last"]["HR@1"].value
    assert opened.samples.sha256 == opened.info.samples_sha256


def test_runs_are_listed_newest_first_and_odd_folders_named(saved: Saved, tmp_path: Path) -> None:
    path, _ = saved
    newer = path.with_name("newer")
    newer.mkdir()
    card = {**json.loads((path / "run.json").read_text()), "created": "2026-02-01T00:00:00+00:00"}
    (newer / "run.json").write_text(json.dumps(card))
    (path.parent / "odd").mkdir()
    (path.parent / ".half.part-00000000").mkdir()
    runs, problems = list_runs(tmp_path / "out")
    assert [run.path.name for run in runs] == ["newer", path.name]
    assert len(problems) == 1
    assert "odd" in problems[0]
    assert list_runs(tmp_path / "nowhere") == ([], [])


def test_saving_again_replaces_the_folder_whole(saved: Saved, tmp_path: Path, tiny_model: Path) -> None:
    path, recommender = saved
    (path / "stale").write_text("from before")
    task = tiny.task(tiny.config(tiny_model, samples=8), tmp_path / "work")
    save_run(recommender, task, path, made_up.result(created="2026-03-01T00:00:00+00:00"))
    assert not (path / "stale").exists()
    assert read_run(path).created.startswith("2026-03")
    assert not [entry for entry in path.parent.iterdir() if entry.name.startswith(".")]


def test_a_failed_save_leaves_no_half(saved: Saved, tmp_path: Path, tiny_model: Path) -> None:
    _, recommender = saved
    task = tiny.task(tiny.config(tiny_model, samples=8), tmp_path / "work")

    class Full(type(recommender)):  # type: ignore[misc]
        def save(self, folder: Path) -> None:
            (folder / "first").write_text("half")
            raise OSError(28, "No space left on device")

    target = tmp_path / "out" / "models" / "other"
    with pytest.raises(OSError, match="No space"):
        save_run(Full(), task, target, RESULT)
    assert not target.exists()
    assert not [entry for entry in target.parent.iterdir() if entry.name.startswith(".")]


def card_with(**changes: Any) -> Callable[[Path], None]:
    """Changes entries of run.json; `None` removes one."""

    def change(path: Path) -> None:
        card = json.loads((path / "run.json").read_text())
        for key, value in changes.items():
            if value is None:
                del card[key]
            else:
                card[key] = value
        (path / "run.json").write_text(json.dumps(card))

    return change


def config_with(part: str, **changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        card = json.loads((path / "run.json").read_text())
        card["config"][part].update(changes)
        (path / "run.json").write_text(json.dumps(card))

    return change


def cut(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).write_bytes((path / name).read_bytes()[:60]) and None


def list_for_card(path: Path) -> None:
    (path / "run.json").write_text("[]")


def without(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(without("run.json"), "not a run folder", id="no card"),
        pytest.param(cut("run.json"), "damaged", id="card cut short"),
        pytest.param(list_for_card, "another version", id="card is a list"),
        pytest.param(card_with(format=99), "another version", id="other format"),
        pytest.param(card_with(format=None), "another version", id="no format"),
        pytest.param(card_with(method=None), "lacks or misnames", id="missing key"),
        pytest.param(card_with(config={}), "lacks or misnames", id="empty config"),
        pytest.param(card_with(config=[1]), "lacks or misnames", id="config is a list"),
        pytest.param(config_with("training", invented=1), "other keys", id="unknown setting"),
        pytest.param(config_with("adapter", experts=3), "do not divide", id="impossible setting"),
        pytest.param(config_with("adapter", rank="four"), "", id="setting of another type"),
        pytest.param(card_with(samples_sha256="00"), "other cases", id="other cases"),
        pytest.param(card_with(method="invented"), "unknown method", id="unknown method"),
        pytest.param(without("encoder.safetensors"), "encoder.safetensors", id="no encoder"),
        pytest.param(cut("encoder.safetensors"), "encoder.safetensors", id="encoder cut short"),
        pytest.param(without("adapter_model.safetensors"), "cannot be read", id="no adapter"),
        pytest.param(cut("adapter_model.safetensors"), "cannot be read", id="adapter cut short"),
        pytest.param(cut("ilora.safetensors"), "cannot be read", id="gate cut short"),
        pytest.param(card_with(method="lora"), "unknown weight", id="opened as another method"),
    ],
)
def test_a_run_that_does_not_fit_is_one_line_and_never_half_opened(
    saved: Saved, damage: Callable[[Path], None], says: str
) -> None:
    path, _ = saved
    damage(path)
    with pytest.raises(IloraError) as caught:
        open_run(path)
    assert says in caught.value.title
    assert "\n" not in caught.value.title
    assert caught.value.exit_code == 2


def test_a_run_whose_language_model_is_gone_says_which(saved: Saved, tmp_path: Path) -> None:
    path, _ = saved
    config_with("model", name=str(tmp_path / "gone"))(path)
    with pytest.raises(ModelError, match="gone"):
        open_run(path)


# --- what others read --------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", ["ilora", "lora"], indirect=True)
def test_the_model_card_tells_figures_terms_and_what_plain_peft_makes_of_it(saved: Saved) -> None:
    path, recommender = saved
    text = (path / "README.md").read_text()
    assert text.startswith("---\n")
    assert "library_name: peft" in text
    assert f"- {recommender.name}" in text
    value = RESULT.metrics["spread"]["HR@1"]
    assert f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]" in text
    assert "280 of 28 users" in text
    assert "Anything goes." in text  # the data's terms
    assert ("uniform gate" in text) == (recommender.name == "ilora")
    assert "the figures above are not those of plain peft" in text
    for name in ("adapter_model.safetensors", "ilora.safetensors", "encoder.safetensors", "config.toml"):
        assert name in text
        assert (path / name).is_file()


@pytest.mark.parametrize("saved", ["sasrec"], indirect=True)
def test_a_run_without_a_language_model_does_not_pose_as_an_adapter(saved: Saved) -> None:
    text = (saved[0] / "README.md").read_text()
    assert "peft" not in text
    assert "Base model" not in text


def test_a_hub_model_is_named_as_the_hub_names_it() -> None:
    card = load_card("tiny")
    for name, base in (("smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"), ("org/m", "org/m")):
        settings = dataclasses.replace(tiny.config(), model=ModelConfig(name))
        assert f"\nbase_model: {base}\n" in front_matter("ilora", settings, card)
    local = dataclasses.replace(tiny.config(), model=ModelConfig("/somewhere/on/this/disk"))
    assert "base_model" not in front_matter("ilora", local, card)


def test_a_run_that_was_moved_answers_and_knows_its_figures(saved: Saved, tmp_path: Path) -> None:
    path, recommender = saved
    moved = tmp_path / "elsewhere" / "mine"
    moved.parent.mkdir()
    path.rename(moved)
    opened = open_run(moved)
    histories, candidates = tiny.histories(2), tiny.candidates(2)
    np.testing.assert_array_equal(
        opened.recommender.score(histories, candidates), recommender.score(histories, candidates)
    )
    assert result_of(moved) == RESULT


def test_an_older_run_finds_its_result_beside_it_and_a_lost_one_is_said(saved: Saved) -> None:
    path, _ = saved
    beside = path.parent.parent / "results" / f"{path.name}.json"
    beside.parent.mkdir()
    (path / "result.json").rename(beside)
    assert result_of(path) == RESULT
    beside.unlink()
    with pytest.raises(ResultError, match="has no result file"):
        result_of(path)


def test_a_path_that_is_nothing_is_no_run_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ResultError, match="not a run folder") as caught:
            read_run(path)
        assert caught.value.hint


def test_the_saved_config_is_the_one_it_was_trained_with(saved: Saved, tiny_model: Path) -> None:
    info = read_run(saved[0])
    assert info.config == tiny.config(tiny_model, samples=8)
    assert dataclasses.replace(info.config) == info.config
