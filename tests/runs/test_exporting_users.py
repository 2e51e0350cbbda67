"""A store of many users' adapters gives each user the adapter that `export --user` would have written."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import InputError, Interrupted, ResultError
from core.recommenders.registry import method_class
from core.runs import exporting_users
from core.runs.exporting_users import INDEX, export_users
from core.runs.parts import LOCK, claimed
from core.runs.store import OpenRun
from core.stages import Watch
from tests import tiny
from tests.ilora.test_folding import close, logits, reloaded
from tests.ilora.test_layers import tokens
from tests.ilora.test_model import adapted
from tests.runs.gated import gated_run

pytestmark = pytest.mark.usefixtures("tiny_home")


@pytest.fixture(params=["shared", "per-layer"])
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenRun:
    """An iLoRA that was never trained, with a sharp gate; shards of four users."""
    monkeypatch.setattr(exporting_users, "SHARD_USERS", 4)
    return gated_run(tmp_path, request.param)


def unpack(store: Path, user: str, folder: Path) -> None:
    """By the code that the README prints."""
    code = re.findall(r"```python\n(.*?)```", (store / "README.md").read_text(), re.S)[0]
    space: dict[str, Any] = {}
    exec(code, space)  # what a server's owner does with it
    space["unpack"](store, user, folder)


def test_what_is_unpacked_answers_as_the_gated_model(run: OpenRun, tmp_path: Path) -> None:
    written = export_users(run, tmp_path / "store")
    assert (written.users, written.left_out, written.shards) == (tiny.USERS, 0, 8)
    model: Any = run.recommender.model  # type: ignore[attr-defined]
    ids, answers = tokens(batch=1), []
    for user in ("1", "30"):
        history = run.dataset.sequences[user].items[-10:].tolist()
        with torch.no_grad(), model._gated([history]):
            expected = logits(model.peft, ids)
        unpack(tmp_path / "store", user, tmp_path / user)
        answers.append(logits(reloaded(tiny.llama, tmp_path / user), ids))
        close(answers[-1], expected)
    assert float((answers[0] - answers[1]).abs().max()) > 1e-2


def test_stopped_work_goes_on_and_ends_as_one_that_was_not(run: OpenRun, tmp_path: Path) -> None:
    export_users(run, tmp_path / "whole")
    asked = 0

    def soon() -> bool:
        nonlocal asked
        asked += 1
        return asked > 10

    with pytest.raises(Interrupted):
        export_users(run, tmp_path / "store", watch=Watch(should_stop=soon))
    assert not (tmp_path / "store").exists()
    events: list[Any] = []
    export_users(run, tmp_path / "store", watch=Watch(emit=events.append))
    assert events[0].total == tiny.USERS - 8  # two shards of four were kept
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "store").iterdir())
    for name in names:
        assert (tmp_path / "store" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_a_file_names_the_users_and_what_is_unknown_is_counted(run: OpenRun, tmp_path: Path) -> None:
    ids = run.dataset.catalogue.ids
    file = tmp_path / "people.jsonl"
    people = [
        {"user": "a/b", "history": list(ids[:3])},
        {"user": "lost", "history": ["no such item"]},
        {"user": "odd", "history": [ids[5], "no such item"]},
    ]
    file.write_text("\n".join(map(json.dumps, people)))
    written = export_users(run, tmp_path / "store", file)
    assert (written.users, written.left_out, written.unknown) == (2, 1, 2)
    assert set(json.loads((tmp_path / "store" / INDEX).read_text())) == {"a/b", "odd"}
    unpack(tmp_path / "store", "a/b", tmp_path / "one")


def test_a_user_who_is_there_twice_is_refused_before_anything_is_written(
    run: OpenRun, tmp_path: Path
) -> None:
    file = tmp_path / "people.jsonl"
    lines = [f'{{"user": "{user}", "history": ["1"]}}' for user in ("a", "b", "a")]
    file.write_text("\n\n".join(lines))
    with pytest.raises(InputError, match="user a is there twice, in rows 1 and 3"):
        export_users(run, tmp_path / "store", file)
    assert list(tmp_path.glob("store*")) == []


def test_two_processes_do_not_write_one_store(run: OpenRun, tmp_path: Path) -> None:
    work = tmp_path / "store.parts"
    work.mkdir()
    with claimed(work), pytest.raises(InputError, match="another process works on"):
        export_users(run, tmp_path / "store")
    export_users(run, tmp_path / "store")
    assert not (tmp_path / "store" / LOCK).exists()


def test_another_jobs_beginning_is_left_alone(run: OpenRun, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        export_users(run, tmp_path / "store", watch=Watch(should_stop=lambda: True))
    other = dataclasses.replace(run, info=dataclasses.replace(run.info, created="2026-02-02"))
    with pytest.raises(ResultError, match="another job"):
        export_users(other, tmp_path / "store")


def test_a_run_without_a_gate_is_refused(run: OpenRun, tmp_path: Path) -> None:
    recommender: Any = method_class("lora")()
    recommender.model = adapted(gated=False)
    with pytest.raises(InputError, match="no adapter for each user"):
        export_users(dataclasses.replace(run, recommender=recommender), tmp_path / "store")
    assert list(tmp_path.glob("store*")) == []
