"""What is written is removed meanwhile, at any touch of a file: one line, or all of it is there after all."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.errors import IloraError
from core.results.merging import merge
from core.results.rankings import ranking, ranking_file
from core.results.store import load_results, save_result
from core.results.tables import group_tables
from core.results.trec import exported, write
from core.runs import exporting_users
from core.serving import all_users
from core.serving.all_users import Order, recommend_all
from core.serving.opening import open_session
from ilora_app.cli.results import write_reports
from tests import made_up, tiny
from tests.runs.gated import gated_run

TOUCHES = {"open", "os.rename", "os.mkdir", "os.listdir", "os.scandir"}
_armed: dict[str, Any] = {"left": 0, "place": Path(), "result": Path(), "busy": False, "hooked": False}
"""What the hook, which Python never lets go of, removes and when."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _armed["left"] <= 0 or _armed["busy"] or event not in TOUCHES or _armed["result"].exists():
        return
    if str(_armed["place"]) not in str(arguments[0] if arguments else ""):
        return
    _armed["left"] -= 1
    if not _armed["left"]:
        _armed["busy"] = True
        for path in [*_armed["place"].iterdir()]:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        _armed["busy"] = False


@contextmanager
def removed_at(touch: int, place: Path, result: Path) -> Iterator[None]:
    """Empties a folder at this process's so-many-th touch of something in it, until the result is there."""
    if not _armed["hooked"]:
        sys.addaudithook(_hook)
        _armed["hooked"] = True
    place.mkdir(parents=True, exist_ok=True)
    _armed.update(left=touch, place=place, result=result)
    try:
        yield
    finally:
        _armed["left"] = 0


def survives(work: Callable[[], object], whole: Callable[[], bool], result: Path) -> None:
    """Does the work with its folder emptied at the first, second ... touch, until none is left."""
    refused, place = 0, result.parent
    for touch in range(1, 200):
        shutil.rmtree(place, ignore_errors=True)
        try:
            with removed_at(touch, place, result):
                work()
                reached = not _armed["left"]
            assert whole(), f"at touch {touch} something is missing"
            if not reached:
                assert refused
                return
        except IloraError as error:
            assert error.exit_code == 2 and error.hint and "\n" not in error.title
            refused += 1
    pytest.fail("it touches more files than expected")


def test_recommendations_for_all_users(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, environment = tiny.trained_run(tmp_path_factory.mktemp("removed"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(all_users, "BATCH", 8)
    session, out = open_session(run), tmp_path / "work" / "recs.parquet"
    survives(
        lambda: recommend_all(session, Order(out, top=3, retrieve=6)),
        lambda: len(set(pq.read_table(out)["user"].to_pylist())) == tiny.USERS,
        out,
    )


def test_adapters_of_all_users(tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting_users, "SHARD_USERS", 10)
    run, out = gated_run(tmp_path / "run", "shared"), tmp_path / "work" / "store"

    def whole() -> bool:
        index = json.loads((out / exporting_users.INDEX).read_text())
        named = {exporting_users.SHARED, *(shard for shard, _ in index.values())}
        return len(index) == tiny.USERS and all((out / name).is_file() for name in named)

    survives(lambda: exporting_users.export_users(run, out), whole, out)


@pytest.mark.parametrize("form", ["trec", "csv", "parquet"])
def test_runs_and_judgements(tmp_path: Path, form: str) -> None:
    stated = made_up.result("lora", cases=made_up.cases(0.5))
    ranks = {case.place: case.rank for case in stated.cases}
    found = [ranking(place, [0, 1], np.array([0.5, 0.4]), 1, rank) for place, rank in ranks.items()]
    parts, folder = exported(stated, ranking_file(found, ["a", "b"])), tmp_path / "work" / "runs"
    count = len({name for part in parts for name in (part.name, f"{part.judged}.qrels")})
    survives(
        lambda: write(parts, folder, form), lambda: len(list(folder.iterdir())) == count, folder / "never"
    )


def test_merged_results_and_their_report(tmp_path: Path) -> None:
    for method in ("lora", "sasrec"):
        save_result(made_up.result(method), tmp_path / "from")
    out = tmp_path / "work" / "out"
    survives(
        lambda: merge([tmp_path / "from"], out),
        lambda: len(list((out / "results").glob("*.json"))) == 2,
        out / "never",
    )
    results, _ = load_results(tmp_path / "from")
    tables = group_tables(results)
    survives(
        lambda: write_reports(tables, [], [out, tmp_path / "from"]),
        lambda: {"report.html", "report.md"} <= {path.name for path in out.iterdir()},
        out / "never",
    )
