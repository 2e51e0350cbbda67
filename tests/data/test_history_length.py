"""One length of history: the dataset's card says it, and every method, the session and the screen read it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.benchmark.run import method_config
from core.config.run_file import read_run_file, resolve, run_file_text
from core.config.settings import RunConfig
from core.data.loading import check_max_history
from core.errors import InputError
from core.events import Event
from core.recommenders.registry import method_class
from core.results.format import config_sha256
from core.results.store import load_result
from core.runs.demo import DEMO
from core.runs.store import read_run, run_folder, save_run
from core.serving.opening import open_session
from core.serving.protocol import Open, Opened, Question
from core.serving.server import WarmEngine
from ilora_app.tui.state.explore_state import ExploreState
from ilora_app.tui.state.run_data import RunData
from tests import made_up, tiny

LONG = 20


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny dataset whose card lets methods read twenty items."""
    for name, value in tiny.install(tmp_path / "home", tmp_path / "mirror", LONG).items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_with_twenty_in_the_card_the_model_its_encoder_the_session_and_the_screen_read_twenty(
    long: Path, tiny_model: Path
) -> None:
    task = tiny.task(tiny.config(tiny_model), long / "work")
    recommender: Any = method_class("ilora")()
    recommender.fit(task)
    assert recommender.model.encoder.max_history == LONG
    path = run_folder(long / "runs", "tiny", "paper", "ilora", 0, "a" * 64)
    path.parent.mkdir(parents=True)
    save_run(recommender, task, path, made_up.result())

    case = max(task.samples.test["last"], key=lambda case: len(case.history))
    assert len(case.history) > 10
    session = open_session(path)
    answer = session.rank(0, Question(list(case.history), user=case.user, position=case.position))
    assert answer.history == list(case.history)
    scores = recommender.score([case.history], [case.candidates])[0]
    assert answer.items == [case.candidates[place] for place in np.argsort(-scores, kind="stable")]
    users, newest = session.newest_histories()
    assert len(newest[users.index(case.user)]) == len(case.history)

    said: list[Event] = []
    WarmEngine(said.append).answer(Open(1, str(long / "runs"), str(path), "tiny"))
    run_data = RunData()
    for event in said:
        if type(event).__name__ in ("Opened", "ItemsListed", "UsersListed", "GatesListed"):
            run_data.take(event)  # type: ignore[arg-type]
    opened = next(event for event in said if isinstance(event, Opened))
    assert (opened.min_history, opened.max_history) == (3, LONG)
    explored, user = ExploreState(run_data), run_data.user(case.user)
    assert user is not None
    explored.choose(user)
    assert explored.history == list(case.history)
    assert explored.add(next(item for item in range(tiny.ITEMS) if item not in user.items))
    assert len(explored.history) == len(case.history) + 1


@pytest.mark.parametrize("method", ["gru4rec", "caser", "sasrec"])
def test_the_baselines_read_what_the_language_model_reads(long: Path, method: str) -> None:
    task = tiny.task(tiny.config(), long / "work")
    recommender: Any = method_class(method)()
    recommender.fit(task)
    assert recommender.model.max_history == LONG
    case = max(task.samples.test["last"], key=lambda case: len(case.history))
    whole = recommender.score([case.history], [case.candidates])
    assert not np.array_equal(whole, recommender.score([case.history[-10:]], [case.candidates]))


def test_another_length_is_another_configuration_and_another_trained_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = (10, LONG)
    checksums = []
    for length in lengths:
        for name, value in tiny.install(tmp_path / "home", tmp_path / "mirror", length).items():
            monkeypatch.setenv(name, value)
        assert method_config(tiny.config(), "ilora")["encoder"]["max_history"] == length
        checksums.append(config_sha256(method_config(tiny.config(), "sasrec")))
        method_class("sasrec")().fit(tiny.task(tiny.config(), tmp_path / "work"))
    assert checksums[0] != checksums[1]
    assert len(list((tmp_path / "work" / "encoders").iterdir())) == len(lengths)


def test_settings_of_earlier_versions_still_open_and_keep_their_checksum(tmp_path: Path) -> None:
    """The demo was saved when `max_history` was an encoder's setting."""
    saved = json.loads((DEMO / "run.json").read_text(encoding="utf-8"))["config"]
    assert saved["encoder"]["max_history"] == 10
    config = RunConfig.from_dict(saved)
    assert "max_history" not in config.to_dict()["encoder"]
    result = load_result(DEMO / "result.json")
    assert result.config["encoder"]["max_history"] == 10
    assert config_sha256(method_config(read_run(DEMO).config, "ilora")) == result.config_sha256
    old = read_run_file(DEMO / "config.toml")
    assert old.settings["encoder"]["max_history"] == 10
    assert resolve("quick", old.settings).encoder == config.encoder
    file = tmp_path / "new.toml"
    file.write_text(run_file_text(config, "ilora", 0, None), encoding="utf-8")
    assert "max_history" not in file.read_text(encoding="utf-8")


def test_a_run_file_that_wants_another_length_than_the_card_is_told_where_to_set_it(tmp_path: Path) -> None:
    file = tmp_path / "old.toml"
    file.write_text("[encoder]\nmax_history = 20\n", encoding="utf-8")
    settings = read_run_file(file).settings
    with pytest.raises(InputError, match="at most 10 items") as caught:
        check_max_history(settings, resolve("quick", settings).data)
    assert "card" in caught.value.hint


def test_no_encoder_setting_is_a_second_length() -> None:
    assert "max_history" not in {field.name for field in dataclasses.fields(tiny.config().encoder)}
