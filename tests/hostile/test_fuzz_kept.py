"""What lies beside results, and what people hand to a finished run: read right, or refused in one line."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from core.config.run_file import read_run_file
from core.data.card_files import parse_card
from core.data.history_file import read_rows
from core.data.reading.candidate_files import read_cases
from core.errors import DataError, IloraError, InputError, ResultError
from core.records import plain
from core.results import rankings
from core.results.case_facts import load_experts, load_facts
from core.results.store import load_result
from core.results.trials import Search, Trial, load_search, save_search
from core.runs import exporting_users
from core.runs.store import read_run
from core.serving import user_parts
from ilora_app.render import report
from ilora_app.tui import preferences
from ilora_app.tui.engine import trainings
from ilora_app.tui.state import views
from tests.data import made_up
from tests.hostile.test_fuzz import FAST, RESULT, RUN, changed, places, shared, tried, written

__all__ = ["shared"]  # a fixture
pytestmark = pytest.mark.usefixtures("own_home")
STRANGE: tuple[Any, ...] = (
    10**400, 2**63, 2**53, -1, -0.5, 0, 1e308, "", "\x1b[31m", "\ud800", "../../z", "a" * 5000, "\0", "[/]",
    "=1", None, True, [], {}, [[]], [None], {"a": None}, ["\ud800"], [-1],
)  # fmt: skip
"""What stands in place of each value in turn."""


def swept(record: Any, path: Path, read: Callable[[], object]) -> None:
    """Writes a record with every value in turn replaced by every strange one, and reads it each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for place in places(record):
        for value in STRANGE:
            path.write_bytes(written(changed(record, place, value)))
            tried(read)


# --- files of histories and of cases ------------------------------------------------------------------------

PERSON = {"user": "a", "history": ["1", 2, "3"]}
CASE = {"user": "a", "history": ["1", 2], "target": 3, "candidates": ["3", 4, {"id": 5, "title": "x"}]}


def test_histories(tmp_path: Path) -> None:
    def read() -> None:
        for row in read_rows(tmp_path / "h.jsonl"):
            "".join((row.user, *row.history)).encode()  # what is read can be written

    swept(PERSON, tmp_path / "h.jsonl", read)


def test_cases(tmp_path: Path) -> None:
    def read() -> None:
        for case in read_cases(tmp_path / "c.jsonl"):
            "".join((case.user, case.target, *case.history, *case.candidates)).encode()

    swept(CASE, tmp_path / "c.jsonl", read)


def test_a_line_without_an_end_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "h.jsonl").write_bytes(b'{"user": "' + b"a" * (3 << 20))
    with pytest.raises(DataError, match="line 1: more than"):
        list(read_rows(tmp_path / "h.jsonl"))


@pytest.fixture(scope="module")
def histories() -> bytes:
    sink = io.BytesIO()
    pd.DataFrame({"user": ["a", "b"], "history": [["1"], ["2", "3"]]}).to_parquet(sink)
    return sink.getvalue()


@FAST
@given(at=st.floats(0, 1), new=st.binary(min_size=1, max_size=8), kept=st.floats(0.5, 1.5))
def test_histories_in_parquet(tmp_path: Path, histories: bytes, at: float, new: bytes, kept: float) -> None:
    content = histories[: int(kept * len(histories))]
    place = int(at * len(content))
    (tmp_path / "h.parquet").write_bytes(content[:place] + new + content[place + len(new) :])
    tried(lambda: list(read_rows(tmp_path / "h.parquet")))


# --- records beside results ---------------------------------------------------------------------------------

TRIALS = (
    Trial({"encoder.dropout": 0.3}, "ended", 0.25, 1.5),
    Trial({"encoder.dropout": 0.5}, "failed", None, 0.0),
)
FACTS = {
    "format": 1, "samples_sha256": "ab" * 32,
    "columns": ["user", "position", "popularity", "history", "shared_title", "known_user"],
    "rows": [["1", 5, 3, 10, False, True], ["2", 6, 0, 3, True, False]],
}  # fmt: skip
EXPERTS = {
    "format": 1, "columns": ["user", "position", "omega"],
    "rows": [["1", 5, [0.5, 0.5]], ["2", 6, [1.0, 0.0]]],
}  # fmt: skip
EXPERT = {
    "words": "w", "mean": 0.5, "favourites": 3, "traits": [{"name": "x", "correlation": 0.5}],
    "users": [{"user": "1", "weight": 0.9}], "items": [{"title": "t", "lift": 1.5, "n": 3}],
}  # fmt: skip
ANALYSIS = {
    "run": "r", "against": None, "dataset": "movielens", "seed": 0,
    "clusters": {"sizes": [3, 4], "users": 7, "names": ["a", "b"]},
    "transfer": [
        {"method": "lora", "similarity": [[1.0, 0.5], [0.5, 1.0]], "between": 0.5, "strength": 0.1,
         "within": 0.9, "windows": [4, 4], "parameters": 10},
    ],
    "experts": {
        "n": 7, "balance": 0.9, "experts": [EXPERT],
        "entropy": {"mean": 0.5, "std": 0.1, "quantiles": {"5": 0.1, "50": 0.5, "95": 0.9}},
    },
    "gains": [
        {"metric": "MRR", "measure": "entropy", "n": 5, "correlation": 0.5, "low": 0.1, "high": 0.9,
         "p": 0.04, "mean_gain": 0.1},
    ],
}  # fmt: skip


def test_trials(tmp_path: Path) -> None:
    search = save_search(Search("tiny", "paper", "sasrec", 0, 10, "ab12", TRIALS), tmp_path)
    assert load_search(search).best == 0
    swept(json.loads(search.read_bytes()), tmp_path / "a.json", lambda: load_search(tmp_path / "a.json").best)


def test_facts_of_cases(tmp_path: Path) -> None:
    swept(
        FACTS,
        tmp_path / "cases" / f"d.paper.{'ab' * 6}.json",
        lambda: load_facts(tmp_path, "d", "paper", "ab" * 32),
    )


def test_weights_of_experts(tmp_path: Path) -> None:
    swept(EXPERTS, tmp_path / "experts" / "r.json", lambda: load_experts(tmp_path, Path("results/r.json")))


def test_an_analysis(tmp_path: Path) -> None:
    (tmp_path / "gain-1.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>')
    (tmp_path / "analysis.json").write_text(json.dumps(ANALYSIS))
    assert list(report._analysis(tmp_path))
    swept(ANALYSIS, tmp_path / "analysis.json", lambda: list(report._analysis(tmp_path)))


def test_a_view(tmp_path: Path) -> None:
    view = views.View(
        views.FORMAT, "tiny", None, "a", 3, [1, 2], ["x", "y"], "catalogue", views.COUNTS[0], [0.5], 1
    )

    def read() -> None:
        json.dumps(asdict(views.read(str(tmp_path / "v.json")))).encode()

    swept(plain(view), tmp_path / "v.json", read)


def test_the_note_of_a_training(tmp_path: Path) -> None:
    command = ["python", "-m", "ilora_app", "bench", "--preset", "quick"]
    note = trainings.TrainingProcess(5, 1.0, command, "a.jsonl", "a.err")

    def read() -> None:
        job = trainings.last_training(tmp_path)
        assert job is None or job.running in (True, False)

    swept(plain(note), tmp_path / trainings.CARD, read)


@pytest.mark.parametrize(
    "value",
    ["5", "-1", "nan", '""', "[]", "{}", "true", "9" * 5000, '"\\u001b[31m"', "[" * 10_000, "a.a = 1", '"x'],
    ids=lambda value: value[:9],
)
def test_what_somebody_prefers(value: str) -> None:
    preferences.path().parent.mkdir(parents=True, exist_ok=True)
    for line in (f"theme = {value}", f"vim = {value}", f'[keys]\n"history.drop" = {value}', value):
        preferences.path().write_text(line)
        tried(preferences.load)


@pytest.fixture(scope="module")
def rankings_file() -> bytes:
    sink = io.BytesIO()
    columns = {
        "user": ["a", "a", "b", "b"], "position": [3, 3, 4, 4], "rank": [1, 2, 1, 2],
        "item": ["1", "2", "1", "2"], "score": [0.5, 0.25, 0.5, 0.25], "target": [True, False, False, True],
    }  # fmt: skip
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def ranked(path: Path) -> None:
    """Reads a file of rankings, with the errors that its door turns into one line."""
    try:
        found = rankings._read(path)
        found.rows(), found.ranks(), found.sha256
    except rankings.DAMAGED as error:
        raise ResultError("damaged") from error


@FAST
@given(at=st.floats(0, 1), new=st.binary(min_size=1, max_size=8), kept=st.floats(0.5, 1.5))
def test_rankings(tmp_path: Path, rankings_file: bytes, at: float, new: bytes, kept: float) -> None:
    content = rankings_file[: int(kept * len(rankings_file))]
    place = int(at * len(content))
    (tmp_path / "r.parquet").write_bytes(content[:place] + new + content[place + len(new) :])
    tried(lambda: ranked(tmp_path / "r.parquet"))


# --- numbers that are none of the kind ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", [("seed",), ("config", "data", "samples_seed"), ("config", "adapter", "rank")]
)
@pytest.mark.parametrize("number", [-1, -(2**53), 2**53, 2**63, 10**400])
def test_a_run_of_impossible_numbers_is_refused(shared: Path, place: tuple[str, ...], number: int) -> None:
    (shared / "run.json").write_bytes(written(changed(RUN, place, number)))
    with pytest.raises(ResultError):
        read_run(shared)


@pytest.mark.parametrize("number", [-0.1, 1.5, 1e308])
def test_metrics_of_a_run_lie_between_none_and_all(shared: Path, number: float) -> None:
    first = next(place for place in places(RUN) if place[0:1] == ("metrics",) and len(place) == 3)
    (shared / "run.json").write_bytes(written(changed(RUN, first, number)))
    with pytest.raises(ResultError):
        read_run(shared)


@pytest.mark.parametrize("number", [-1, 2**53, 10**30])
def test_a_seed_that_no_run_has_is_refused_everywhere(tmp_path: Path, number: int) -> None:
    (tmp_path / "r.json").write_bytes(written(changed(RESULT, ("seed",), number)))
    with pytest.raises(ResultError, match="seed"):
        load_result(tmp_path / "r.json")
    (tmp_path / "config.toml").write_text(f"seed = {number}\n")
    with pytest.raises(InputError, match="seed"):
        read_run_file(tmp_path / "config.toml")
    lines = [
        line for line in made_up.card().splitlines() if not line.startswith(("test_users", "validation"))
    ]
    at = lines.index("[split]") if "[split]" in lines else pytest.fail("the card has no split")
    lines.insert(at + 1, f"seed = {number}")
    with pytest.raises(DataError, match=r"split\.seed"):
        parse_card("\n".join(lines), "made-up.toml")


# --- parts of long work -------------------------------------------------------------------------------------

SHARD = {"users": ["a", "b"], "left_out": 1, "unknown": 0}
TALLY = asdict(user_parts.Tally(3, 2, 1, 1, {"no known item": 1}))


def test_shards_of_adapters(tmp_path: Path) -> None:
    shard = tmp_path / "users-00000.safetensors"
    for place in places(SHARD):
        for value in STRANGE:
            said = json.dumps(changed(SHARD, place, value))
            save_file({"x": torch.zeros(1)}, shard, {exporting_users.SAID: said})
            tried(lambda: exporting_users._said(shard))
    for metadata in (None, {exporting_users.SAID: "["}, {"other": "{}"}):
        save_file({"x": torch.zeros(1)}, shard, metadata)
        with pytest.raises(ResultError, match="cannot be read"):
            exporting_users._said(shard)


def test_parts_of_recommendations(tmp_path: Path) -> None:
    part = tmp_path / "part.parquet"
    for place in places(TALLY):
        for value in STRANGE:
            said = {"ilora-app": json.dumps(changed(TALLY, place, value))}
            pq.write_table(pa.table({"user": ["a"]}, metadata=None).replace_schema_metadata(said), part)
            tried(lambda: user_parts.Tally().add(user_parts.tally_of(part)))


def test_a_damaged_study_of_trials_is_one_line(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="comes with the test extras")
    from core.benchmark.studies import finished_of, given_up, open_study

    path = tmp_path / "study.db"
    study = open_study(path, "key", 2)
    study.add_trial(optuna.trial.create_trial(params={}, distributions={}, value=0.5))
    whole = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(8):
        at, cut = draw.randrange(len(whole)), draw.choice([0, 0, 1])
        damaged = whole[:at] if cut else whole[:at] + draw.randbytes(600) + whole[at + 600 :]
        path.write_bytes(damaged)
        try:
            again = open_study(path, "key", 2)
            given_up(again)
            finished_of(again)
        except IloraError:
            refused += 1
    assert refused
