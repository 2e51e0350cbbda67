"""Recommendations for all users: each user once, whatever kills the work, nothing in silence."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import DataError, InputError, Interrupted, ResultError
from core.serving import all_users, user_parts
from core.serving.all_users import NO_ITEM, NOTHING_LEFT, Order, recommend_all
from core.serving.opening import open_session
from core.serving.session import Session
from core.stages import Watch
from ilora_app.cli import main
from tests import tiny

TOP = 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A SASRec run of the made-up dataset, and the environment that finds its data."""
    return tiny.trained_run(tmp_path_factory.mktemp("everybody"))


@pytest.fixture
def session(trained: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Session:
    for name, value in trained[1].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(all_users, "BATCH", 4)
    return open_session(trained[0])


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def order(tmp_path: Path, **more: Any) -> Order:
    return Order(tmp_path / "recs.parquet", **{"top": TOP, "retrieve": 6, **more})


def test_every_user_gets_their_best_unseen_items_in_order(session: Session, tmp_path: Path) -> None:
    tally = recommend_all(session, order(tmp_path))
    assert (tally.users, tally.recommended, tally.unknown) == (tiny.USERS, tiny.USERS, 0)
    found = rows(tmp_path / "recs.parquet")
    users = list(session.dataset.sequences)
    assert [row["user"] for row in found] == [user for user in users for _ in range(TOP)]
    assert [row["rank"] for row in found] == list(range(1, TOP + 1)) * len(users)
    catalogue = session.dataset.catalogue
    for place, user in enumerate(users):
        own = found[place * TOP : (place + 1) * TOP]
        sequence = session.dataset.sequences[user]
        best = session.retrieve(tuple(sequence.items[-10:].tolist()), sequence.seen, TOP).items
        assert [row["item"] for row in own] == [
            catalogue.ids[item] for item in best
        ]  # SASRec finds and ranks
        assert [row["title"] for row in own] == [catalogue.titles[item] for item in best]
        assert [row["score"] for row in own] == sorted((row["score"] for row in own), reverse=True)
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_file_of_histories_is_read_and_what_is_unknown_is_counted(
    session: Session, tmp_path: Path, kind: str
) -> None:
    ids = list(session.dataset.catalogue.ids)
    people = [
        {"user": "new", "history": ids[:4]},
        {"user": "odd", "history": [ids[0], "not an item", ids[1], "nor this"]},
        {"user": "lost", "history": ["not an item"]},
        {"user": "empty", "history": []},
        {"user": "knows all", "history": ids},
    ]
    file = tmp_path / f"people.{kind}"
    if kind == "jsonl":
        file.write_text("\n".join(json.dumps(person) for person in people) + "\n\n")
    else:
        pq.write_table(pa.Table.from_pylist(people), file)
    tally = recommend_all(session, order(tmp_path, histories=file))
    assert (tally.users, tally.recommended, tally.unknown, tally.with_unknown) == (5, 2, 3, 2)
    assert tally.left_out == {NO_ITEM: 2, NOTHING_LEFT: 1}
    found = rows(tmp_path / "recs.parquet")
    assert [row["user"] for row in found] == ["new"] * TOP + ["odd"] * TOP
    assert not {row["item"] for row in found[:TOP]} & set(ids[:4])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1: not JSON"),
        ('{"user": "1"}', "row 1: not a user with a history"),
        ('{"user": "1", "history": ["1"]}\n[1]', "row 2"),
        ('{"user": "1", "history": [1.5]}', "row 1"),
        ('{"user": null, "history": []}', "row 1"),
    ],
)
def test_a_row_that_is_wrong_is_named(session: Session, tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text(text)
    with pytest.raises(DataError, match=says):
        recommend_all(session, order(tmp_path, histories=file))
    assert not (tmp_path / "recs.parquet").exists()


def test_a_user_who_is_there_twice_is_refused_before_anything_is_written(
    session: Session, tmp_path: Path
) -> None:
    file = tmp_path / "people.jsonl"
    people = [{"user": str(number), "history": ["1"]} for number in range(2000)]
    file.write_text("\n".join(map(json.dumps, [*people, {"user": 7, "history": ["2"]}])))
    with pytest.raises(InputError, match="user 7 is there twice, in rows 8 and 2001"):
        recommend_all(session, order(tmp_path, histories=file))
    assert list(tmp_path.glob("recs*")) == []


def test_a_stopped_job_goes_on_and_ends_as_one_that_was_not(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommend_all(session, Order(tmp_path / "whole.parquet", TOP, 6))
    asked = 0

    def soon() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    monkeypatch.setattr(user_parts, "PART_SECONDS", 0.0)
    session.watch = Watch(should_stop=soon)
    steps: list[Any] = []
    with pytest.raises(Interrupted):
        recommend_all(session, order(tmp_path))
    assert not (tmp_path / "recs.parquet").exists()
    scored: list[int] = []
    score = session.recommender.score

    def counted(histories: Any, candidates: Any) -> Any:
        scored.append(len(histories))
        return score(histories, candidates)

    monkeypatch.setattr(session.recommender, "score", counted)
    session.watch = Watch(emit=steps.append)
    recommend_all(session, order(tmp_path))
    assert sum(scored) == tiny.USERS - 8  # two batches of four were kept
    assert rows(tmp_path / "recs.parquet") == rows(tmp_path / "whole.parquet")
    assert steps[0].total == tiny.USERS - 8


def test_the_parts_of_another_job_are_not_gone_on_with(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.watch = Watch(should_stop=lambda: True)
    with pytest.raises(Interrupted):
        recommend_all(session, order(tmp_path))
    session.watch = Watch()
    with pytest.raises(ResultError, match="another job: top"):
        recommend_all(session, order(tmp_path, top=2))
    assert recommend_all(session, order(tmp_path)).users == tiny.USERS


def test_a_file_that_is_there_is_never_replaced(session: Session, tmp_path: Path) -> None:
    (tmp_path / "recs.parquet").write_text("mine")
    with pytest.raises(InputError, match="exists"):
        recommend_all(session, order(tmp_path))
    assert (tmp_path / "recs.parquet").read_text() == "mine"


@pytest.mark.parametrize(
    "change", [{"top": 0}, {"retrieve": 1}, {"top": 7}, {"histories": Path("nowhere")}], ids=str
)
def test_numbers_and_names_that_cannot_be_used_are_refused(
    session: Session, tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(InputError):
        recommend_all(session, order(tmp_path, **change))
    with pytest.raises(InputError, match=r"does not end in \.parquet"):
        recommend_all(session, dataclasses.replace(order(tmp_path), out=tmp_path / "recs.csv"))


KILLED = """
import sys
from core.serving import all_users, user_parts
all_users.BATCH, user_parts.PART_SECONDS = 2, 0.0
write, left = user_parts.PartWriter._write, int(sys.argv.pop(1))
def counted(*arguments):
    global left
    write(*arguments)
    left -= 1
    if left == 0:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
user_parts.PartWriter._write = counted
from ilora_app.cli import main
main(sys.argv[1:])
"""


def test_killed_at_any_part_no_user_is_lost_or_doubled(
    session: Session, trained: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    recommend_all(session, Order(tmp_path / "whole.parquet", TOP, 6))
    command = ["recommend", "--run", str(trained[0]), "--all-users", "--top", str(TOP), "--candidates", "6"]
    command += ["--out", str(tmp_path / "recs.parquet"), "--json"]
    environment = {**os.environ, **trained[1]}
    codes = []
    for parts in (1, 5, 0):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(parts), *command],
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        codes.append(done.returncode)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0], done.stderr
    assert json.loads(done.stdout)["users"] == tiny.USERS
    assert rows(tmp_path / "recs.parquet") == rows(tmp_path / "whole.parquet")
    assert not (tmp_path / "recs.parquet.parts").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ("--all-users",),
        ("--all-users", "--out", "recs.parquet", "--user", "3"),
        ("--all-users", "--out", "recs.parquet", "--lock", "1"),
        ("--all-users", "--out", "recs.parquet", "--from", "benchmark"),
        ("--all-users", "--out", "recs.csv"),
        ("--user", "3", "--histories", "people.jsonl"),
        (),
    ],
    ids=" ".join,
)
def test_what_cannot_be_asked_is_one_line_and_a_hint(
    session: Session, trained: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str], wrong: Any
) -> None:
    del session
    with pytest.raises(SystemExit) as ended:
        main(["recommend", "--run", str(trained[0]), *wrong])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "hint: " in said
    assert not Path("recs.parquet").exists()
