"""A run and a result that were written before the engine got its rooms still open and say the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core.benchmark.evaluate import evaluate_run
from core.results.case_facts import load_experts, load_facts
from core.results.store import load_results
from core.results.tables import group_tables
from core.runs.store import list_runs
from ilora_app.cli import main

KEPT = Path(__file__).parents[2] / "tests" / "fixtures" / "first-format"


@pytest.fixture
def out(tmp_path: Path, tiny_home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kept output folder beside the language model that its run names."""
    del tiny_home
    shutil.copytree(KEPT, tmp_path / "runs")
    shutil.copytree(tiny_model, tmp_path / "tiny-llama")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_an_old_run_opens_and_its_stated_figures_come_out(out: Path) -> None:
    (run,), problems = list_runs(out)
    assert problems == []
    assert (run.method, run.dataset, run.seed) == ("ilora", "tiny", 0)
    found = evaluate_run(run.path)
    assert found.agrees
    assert found.moved == 0
    assert found.cases > 0


def test_an_old_run_is_listed_and_shown(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["runs", "--json"], ["runs", "show", "ilora", "--json"]):
        with pytest.raises(SystemExit) as done:
            main([*command, "--out", str(out)])
        assert done.value.code == 0
        json.loads(capsys.readouterr().out)


def test_an_old_result_makes_a_table_with_its_cases_and_experts(out: Path) -> None:
    results, problems = load_results(out)
    assert problems == []
    (table,) = group_tables(results)
    (row,) = table.rows
    assert row.method == "ilora"
    assert 0 < row.metrics["last"]["MRR"].value <= 1
    (result,) = results
    facts = load_facts(out, result.dataset, result.split, result.samples_sha256)
    assert facts is not None
    (path,) = (out / "results").iterdir()
    assert load_experts(out, path) is not None


def test_a_report_of_an_old_folder_can_be_written(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["results", "--out", str(out), "--report"])
    assert done.value.code == 0, capsys.readouterr().err
    assert "iLoRA" in (out / "report.md").read_text(encoding="utf-8")
