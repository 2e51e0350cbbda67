"""Ranking files say what the result says, are read by other programs, and are never trusted when damaged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from core.errors import ResultError
from core.results.format import Result, measure
from core.results.merging import merge
from core.results.rankings import (
    cases_from,
    first_places,
    load_rankings,
    ranking,
    ranking_file,
    rankings_path,
    save_rankings,
)
from core.results.store import load_result, load_results, result_path, save_result
from ilora_app.cli import main

METHODS = "popularity,sasrec"


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert ended.value.code == code, said
    return said.out + said.err


@pytest.fixture
def out(tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of a small benchmark."""
    folder = tmp_path / "runs"
    run(capsys, "bench", "--dataset", "tiny", "--preset", "quick", "--methods", METHODS, "--out", folder)
    return folder


def results_of(out: Path) -> list[tuple[Result, Path]]:
    found, problems = load_results(out)
    assert not problems
    return [(result, result_path(out, *result.key)) for result in found]


def test_metrics_come_from_the_ranking_file_alone(out: Path) -> None:
    for result, file in results_of(out):
        sets: dict[str, list[tuple[str, int]]] = {}
        for case in result.cases:
            sets.setdefault(case.set, []).append(case.place)
        rankings = load_rankings(result, file)
        assert measure(cases_from(rankings, sets)) == result.metrics
        assert all(len(rows) == 20 for rows in rankings.rows().values())


def test_another_evaluation_program_finds_our_metrics(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ir_measures = pytest.importorskip("ir_measures")
    run(capsys, "results", "export", "--out", out, "--to", out / "trec")
    names = {"Success@1": "HR@1", "Success@5": "HR@5", "nDCG@10": "NDCG@10", "RR": "MRR"}
    measures = [ir_measures.parse_measure(name) for name in names]
    for result, _ in results_of(out):
        for test_set, stated in result.metrics.items():
            judged = next((out / "trec").glob(f"*.{test_set}.qrels"))
            qrels = list(ir_measures.read_trec_qrels(str(judged)))
            answered = list(
                ir_measures.read_trec_run(str(out / "trec" / f"{result.key.name}.{test_set}.run"))
            )
            found = ir_measures.calc_aggregate(measures, qrels, answered)
            for measure_, value in found.items():
                assert value == pytest.approx(stated[names[str(measure_)]].value, abs=1e-6), (
                    measure_,
                    test_set,
                )


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_hold_the_same_lines_as_the_text(
    out: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import pandas as pd

    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[form]
    told = run(capsys, "results", "export", "--out", out, "--format", form, "--set", "last").split()
    assert [Path(path).suffix for path in told] == [f".{form}"] * 3  # two runs of the same cases
    run(capsys, "results", "export", "--out", out, "--set", "last", "--method", "sasrec")
    text = next((out / "export").glob("*sasrec*.last.run")).read_text().splitlines()
    table = read(next((out / "export").glob(f"*sasrec*.last.{form}")))
    assert [line.split()[2] for line in text] == [str(item) for item in table["doc_id"]]
    assert (table.groupby("q_id")["score"].diff().dropna() < 0).all()


@pytest.mark.parametrize("count", [1, 3, 100, 400])
def test_the_first_places_are_those_of_a_whole_sort_with_all_its_ties(count: int) -> None:
    draws = np.random.default_rng(0)
    for size in (1, 5, 100, 101, 300):
        for values in (draws.integers(0, 4, size), draws.integers(0, 1000, size), np.zeros(size)):
            scores, last = values.astype(np.float32), np.arange(size) == draws.integers(size)
            expected = sorted(range(size), key=lambda i: (-scores[i], last[i], i))[:count]
            assert first_places(scores, last, count).tolist() == expected


def test_ties_count_against_the_target_and_it_is_kept_wherever_it_is() -> None:
    tied = ranking(("a", 3), [7, 8, 9], np.array([1.0, 1.0, 1.0]), 7, 3)
    assert tied.items.tolist() == [8, 9, 7] and tied.ranks.tolist() == [1, 2, 3]
    scores = np.arange(500, 0, -1.0)
    far = ranking(("a", 3), np.arange(500), scores, 400, 401)
    assert len(far.items) == 101 and far.items[-1] == 400 and far.ranks[-1] == 401
    never_met = ranking(("a", 3), [1, 2], np.array([0.5, 0.4]), 5, 9)
    assert never_met.items.tolist() == [1, 2, 5] and np.isnan(never_met.scores[-1])


@pytest.mark.parametrize("damage", ["cut", "gone", "another", "score"])
def test_a_broken_ranking_file_is_named_and_made_again_without_training(
    out: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (result, file), (_, other) = sorted(results_of(out), key=lambda one: one[0].method != "sasrec")
    path, before = rankings_path(file), load_rankings(result, file)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "gone":
        path.unlink()
    elif damage == "another":
        path.write_bytes(rankings_path(other).read_bytes())
    else:
        save_rankings(dataclasses.replace(before, score=before.score + 1), file)
    told = run(capsys, "results", "check", "--out", out, code=1)
    assert path.name in told and "1 problems" in told
    assert path.name in run(capsys, "results", "export", "--out", out, code=2)
    weights = {path: path.stat().st_mtime_ns for path in (out / "models").rglob("*.safetensors")}
    asked = ("bench", "--dataset", "tiny", "--preset", "quick", "--methods", METHODS, "--out", out)
    assert path.name in run(capsys, *asked)
    assert load_rankings(load_result(file), file).ranks() == before.ranks()
    assert weights == {path: path.stat().st_mtime_ns for path in weights}
    assert "0 problems" in run(capsys, "results", "check", "--out", out)


def test_a_result_of_an_older_version_stays_and_says_that_it_has_none(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, file = results_of(out)[0]
    rankings_path(file).unlink()
    save_result(dataclasses.replace(result, rankings_sha256=None), out)
    assert "rankings_sha256" not in json.loads(file.read_text())
    assert "1 of an older version" in run(capsys, "results", "check", "--out", out)
    with pytest.raises(ResultError, match="older version"):
        load_rankings(load_result(file), file)
    assert "older version" in run(capsys, "results", "export", "--out", out, code=2)


def test_a_merge_takes_ranking_files_along(out: Path, tmp_path: Path) -> None:
    merge([out], tmp_path / "all")
    for result, file in results_of(tmp_path / "all"):
        assert load_rankings(result, file).ranks()


def test_names_with_spaces_stay_one_word(tmp_path: Path) -> None:
    from core.results.trec import exported, write
    from tests.made_up import cases
    from tests.made_up import result as made_up

    stated = made_up("lora", cases=cases(0.5))
    places = dict.fromkeys(case.place for case in stated.cases)
    ranks = {case.place: case.rank for case in stated.cases}
    rankings = ranking_file(
        [ranking(place, [0, 1], np.array([0.5, 0.4]), 1, ranks[place]) for place in places],
        ["an item", "b c"],
    )
    for path in write(exported(stated, rankings), tmp_path, "trec"):
        assert {len(line.split()) for line in path.read_text().splitlines()} in ({4}, {6})


def test_a_run_of_a_thousand_cases_stays_under_a_megabyte(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    kept = [
        ranking((str(case // 10), case % 10), draw.permutation(1682)[:100], draw.normal(size=100), 0, 101)
        for case in range(950)
    ]
    path = save_rankings(ranking_file(kept, [str(item) for item in range(1682)]), tmp_path / "one.json")
    assert path.stat().st_size < 1_000_000
