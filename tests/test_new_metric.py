"""A new metric is one function with its name, direction and need: every place that measures or shows asks."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from core.config.settings import RunConfig
from core.data.card_files import load_card
from core.evaluation.metrics import METRICS, Metric, hit_ratio, summarize
from core.results.format import Result, disagreement
from core.results.store import load_results
from core.results.tables import group_tables
from core.runs.compare import compare_runs
from core.runs.model_card import run_card
from ilora_app.cli import main
from ilora_app.tui.state.leaderboard_rows import arrange, lines_of, metrics_of
from tests.made_up import answered, cases, result

NEW = (
    Metric("HR@3", hit_ratio(3)),
    Metric("Miss@1", lambda ranks: (ranks > 1).astype(float), higher_is_better=False, needs_ranking=False),
)


@pytest.fixture
def two_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for metric in NEW:
        monkeypatch.setitem(METRICS, metric.name, metric)


@pytest.fixture
def out(two_more: None, tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of a small benchmark that was made with the new metrics."""
    folder = tmp_path / "runs"
    asked = ("bench", "--dataset", "tiny", "--preset", "quick", "--methods", "popularity,sasrec")
    assert "HR@3" in run(capsys, folder, *asked)
    return folder


def run(capsys: pytest.CaptureFixture[str], out: Path, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--out", str(out)])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_results_tables_reports_and_model_cards_have_it(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, problems = load_results(out)
    assert not problems
    for found in results:
        assert disagreement(found) is None
        for values in found.metrics.values():
            assert list(values) == ["HR@1", "HR@5", "NDCG@10", "MRR", "HR@3", "Miss@1"]
            assert values["HR@1"].value + values["Miss@1"].value == pytest.approx(1)
            assert values["HR@1"].value <= values["HR@3"].value <= values["HR@5"].value
    lines = list(csv.DictReader(io.StringIO((out / "results.csv").read_text(encoding="utf-8"))))
    assert all({"HR@3", "HR@3 low", "HR@3 high", "Miss@1"} <= line.keys() for line in lines)
    for name in ("report.md", "report.html"):
        text = (out / name).read_text(encoding="utf-8")
        assert "HR@3" in text and "Miss@1" in text
    (card,) = (out / "models").glob("*sasrec*/README.md")
    assert "| HR@3 | Miss@1 |" in card.read_text(encoding="utf-8")
    for asked in (("--by", "popularity"), ("--pairs",)):
        assert "HR@3" in run(capsys, out, "results", *asked, "--metric", "HR@3")


def test_the_screens_take_its_column_and_its_direction_from_the_record(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads(run(capsys, out, "results", "--json"))
    metrics = metrics_of(record)
    assert [metric.name for metric in metrics][-2:] == ["HR@3", "Miss@1"]
    assert [metric.higher_is_better for metric in metrics][-2:] == [True, False]
    lines = lines_of(record, Path("runs"))
    for sort, rising in (("HR@3", False), ("Miss@1", True)):
        shown = arrange(lines, "spread", "", sort, False, rising)
        values = [line.value(sort) for line in shown]
        assert values == sorted(values, reverse=not rising)
    assert [line.method for line in arrange(lines, "spread", "", "Miss@1", False, True)] == [
        line.method for line in arrange(lines, "spread", "", "HR@1", False)
    ]


def test_positive_differences_favour_the_better_method_whatever_the_direction(two_more: None) -> None:
    (table,) = group_tables([result("sasrec", cases=cases(0.3, 1)), result("lora", cases=cases(0.7, 2))])
    for metric in ("HR@1", "Miss@1"):
        (pair,) = table.pairs("spread", metric)
        assert (pair.a.method, pair.b.method) == ("lora", "sasrec")
        assert pair.found.difference > 0
        assert pair.facing(pair.b).found.difference == pytest.approx(-pair.found.difference)
        found = compare_runs(pair.a.first, pair.b.first)["spread"][metric]
        assert found.difference == pytest.approx(pair.found.difference)
        assert table.compare(pair.a, pair.b, "spread", metric).difference > 0


def test_what_needs_no_ranking_is_measured_of_answers_in_words_too(two_more: None) -> None:
    made = answered("ilora")
    for values in made.metrics.values():
        assert list(values)[:2] == ["HR@1", "Miss@1"]
        assert "HR@3" not in values
    assert Result.from_json(made.to_json()) == made
    card = run_card(made, RunConfig(), load_card("movielens"))
    assert "| HR@1 | Miss@1 |" in card


def test_training_is_watched_by_it_too(two_more: None) -> None:
    assert summarize(np.array([1, 3, 20])) | {"HR@3": 2 / 3, "Miss@1": 2 / 3} == pytest.approx(
        summarize(np.array([1, 3, 20]))
    )
