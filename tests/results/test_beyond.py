"""What methods recommend is read from ranking files, with nothing run, and never of twenty candidates."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.benchmark.run import Plan, run_benchmark
from core.data.loading import load_task_data
from core.errors import InputError, ResultError
from core.evaluation.lists import mean_over, popularity_ranks
from core.recommenders.popularity import item_counts
from core.results.beyond import MEASURES, POPULARITY, RANK, beyond
from core.results.item_facts import item_facts_of, item_facts_path, load_item_facts, save_item_facts
from core.results.merging import merge
from core.results.rankings import load_rankings, rankings_path
from core.results.store import load_results, result_path
from core.results.tables import Table, group_tables
from tests import tiny
from tests.commands import run

METHODS = ("popularity", "gru4rec", "sasrec")


def bench(out: Path, candidates: str, methods: tuple[str, ...] = METHODS) -> None:
    config = tiny.config("unused")
    data = dataclasses.replace(config.data, candidates=candidates, retrieve=10)
    plan = Plan(dataclasses.replace(config, data=data), methods, (0, 1), out, "quick", "ilora-app bench")
    run_benchmark(plan)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a small benchmark against the whole catalogue, which nobody writes into."""
    folder = tmp_path_factory.mktemp("beyond")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in tiny.install(folder / "home", folder / "mirror").items():
            patch.setenv(name, value)
        bench(folder / "runs", "catalogue")
        yield folder / "runs"


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "runs"))


def table_of(out: Path) -> Table:
    return next(table for table in group_tables(load_results(out)[0]) if table.whole)


def test_every_measure_of_every_row_comes_with_an_interval(out: Path) -> None:
    found = beyond(table_of(out), [out])
    assert not found.problems and found.items == tiny.ITEMS
    for of_set in found.sets:
        assert len(of_set.rows) == 3 and len(of_set.agreement) == 3
        for _, measured in of_set.rows:
            assert list(measured) == list(MEASURES)
            assert all(one.low <= one.value <= one.high and one.seeds == 2 for one in measured.values())
        assert all(0 <= pair.found.low <= pair.found.high <= 1 for pair in of_set.agreement)
        ranks = {row.method: measured[RANK].value for row, measured in of_set.rows}
        assert max(ranks, key=ranks.__getitem__) == "popularity"


def test_figures_are_those_of_the_rankings_and_of_the_training_part(out: Path) -> None:
    table = table_of(out)
    row = next(row for row in table.rows if row.method == "sasrec")
    dataset, samples = load_task_data(tiny.config("unused").data)
    counts = item_counts(dataset, samples).astype(np.float64)
    facts = load_item_facts(out, table.dataset, table.split, table.samples_sha256)
    assert facts is not None and facts.counts.tolist() == counts.tolist()
    of_row = []
    for result in row.runs:
        file = load_rankings(result, result_path(out, *result.key))
        for place in row.places["last"]:
            best = [facts.ids.index(file.item[row]) for row in list(file.rows()[place])[:5]]
            of_row.append(best)
    measured = next(
        figures
        for of_set in beyond(table, [out], top=5).sets
        if of_set.test_set == "last"
        for other, figures in of_set.rows
        if other.label == row.label
    )
    lists = np.array(of_row)
    assert measured[POPULARITY].value == pytest.approx(counts[lists].mean())
    assert measured[RANK].value == pytest.approx(mean_over(popularity_ranks(counts), lists).mean())


def test_the_command_shows_prints_and_reports_them(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, _ = run(capsys, "results", "--beyond", "--out", out)
    assert "Catalogue and popularity on spread" in text and "Histories" in text and "Steck 2018" in text
    record = json.loads(run(capsys, "results", "--beyond", "--json", "--top", 5, "--out", out)[0])
    (table,) = record["tables"]
    assert table["top"] == 5 and table["definitions"]["coverage"]["source"].startswith("Elliot")
    lines = list(csv.DictReader(io.StringIO(run(capsys, "results", "--beyond", "--csv", "--out", out)[0])))
    assert {line["measure"] for line in lines} == {*MEASURES, "rbo"}
    assert all(float(line["low"]) <= float(line["value"]) <= float(line["high"]) for line in lines)
    run(capsys, "results", "--report", "--out", out)
    assert "How alike two methods recommend" in (out / "report.html").read_text()
    only, _ = run(capsys, "results", "--beyond", "--set", "last", "--method", "sasrec", "--out", out)
    assert "on last" in only and "on spread" not in only and "GRU4Rec" not in only


def test_of_twenty_candidates_it_is_refused_in_one_line(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench(out, "20", METHODS[:1])
    text, told = run(capsys, "results", "--beyond", "--out", out)
    assert "20 candidates" in told and "whole catalogue" in text
    twenty = next(table for table in group_tables(load_results(out)[0]) if not table.whole)
    with pytest.raises(InputError, match="20 candidates"):
        beyond(twenty, [out])
    alone = out.parent / "twenty"
    bench(alone, "20", METHODS[:1])
    run(capsys, "results", "--report", "--out", alone)
    _, told = run(capsys, "results", "--beyond", "--out", alone, code=2)
    assert told.count("\n") == 2 and "error:" in told and "--candidates catalogue" in told
    assert "19 are drawn at random" in (alone / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--beyond", "--top", 0), "--top is 0"),
        (("--beyond", "--top", 101), "100"),
        (("--top", 5), "--beyond"),
    ],
)
def test_bad_options_are_one_line(
    out: Path, arguments: tuple[object, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in run(capsys, "results", *arguments, "--out", out, code=2)[1]


def test_facts_that_are_gone_or_damaged_are_made_anew_and_merged(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = table_of(out)
    path = item_facts_path(out, table.dataset, table.split, table.samples_sha256)
    whole = path.read_text()
    for damage in (None, whole[:-100], whole.replace('"genres"', '"g"', 1).replace("[", "{", 1)):
        path.unlink() if damage is None else path.write_text(damage)
        assert "run the benchmark again" in run(capsys, "results", "--beyond", "--out", out, code=2)[1]
        bench(out, "catalogue")
        assert path.read_text() == whole
    merge([out], out.parent / "all")
    assert beyond(table_of(out.parent / "all"), [out.parent / "all"]) == beyond(table, [out])


def test_a_damaged_ranking_file_is_named(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = table_of(out).rows[0].first
    path = rankings_path(result_path(out, *result.key))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ResultError, match=path.name):
        beyond(table_of(out), [out])
    run(capsys, "results", "--report", "--out", out)
    assert path.name in (out / "report.md").read_text()


def test_an_item_without_genres_leaves_the_others_measures(out: Path, tmp_path: Path) -> None:
    table = table_of(out)
    dataset, samples = load_task_data(tiny.config("unused").data)
    facts = item_facts_of(dataset, samples, item_counts(dataset, samples))
    bare = dataclasses.replace(facts, genres=((),) * len(facts.ids))
    save_item_facts(bare, dataclasses.replace(samples, sha256=table.samples_sha256), out)
    for of_set in beyond(table, [out]).sets:
        for _, measured in of_set.rows:
            assert "genre_similarity" not in measured and "novelty" in measured
