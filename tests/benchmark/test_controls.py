"""A benchmark's controls ask the trained run beside them, cost no training, and say when there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.benchmark.run import Plan, run_benchmark
from core.errors import InputError
from core.events import Event, MethodFinished
from core.methods import control_methods
from core.recommenders.adapter import AdapterRecommender
from core.results.tables import group_tables
from core.runs.store import list_runs
from tests import tiny

pytestmark = pytest.mark.usefixtures("tiny_home")


def plan(out: Path, model: Path, *methods: str, seeds: int = 1) -> Plan:
    return Plan(tiny.config(model, samples=8), methods, tuple(range(seeds)), out, "quick", "ilora-app bench")


def test_controls_meet_the_cases_of_the_method_they_ask_and_train_nothing(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    load = AdapterRecommender.load
    monkeypatch.setattr(
        AdapterRecommender, "load", lambda self, *given: opened.append(self.name) or load(self, *given)
    )
    results = run_benchmark(plan(tmp_path, tiny_model, "ilora", *control_methods(), seeds=2))
    assert opened == ["ilora", "ilora"]  # once per seed
    (table,) = group_tables(results)
    assert [row.method for row in table.rows] == ["ilora"]
    assert [row.method for row in table.controls] == list(control_methods())
    for row in table.controls:
        assert row.seeds == (0, 1)
        assert row.first.config == table.rows[0].first.config
        assert row.first.parameters.trainable == 0 < row.first.parameters.total
        assert "train_seconds" not in row.first.timings or row.first.timings["train_seconds"] == 0
        assert "nothing is trained" in " ".join(row.first.notes)
    assert {run.method for run in list_runs(tmp_path)[0]} == {"ilora"}


def test_controls_may_come_later_and_a_model_that_is_gone_is_trained_again_for_them(
    tmp_path: Path, tiny_model: Path
) -> None:
    (first,) = run_benchmark(plan(tmp_path, tiny_model, "ilora"))
    run_benchmark(plan(tmp_path, tiny_model, "mean-gate"))
    shutil.rmtree(tmp_path / "models")
    events: list[Event] = []
    both = run_benchmark(plan(tmp_path, tiny_model, "ilora", "mean-gate"), events.append)
    assert all(event.reused for event in events if isinstance(event, MethodFinished))
    more = run_benchmark(plan(tmp_path, tiny_model, "ilora", "shuffled"), events.append)
    assert more[0].cases == both[0].cases == first.cases
    assert (tmp_path / "models").is_dir()


def test_without_the_trained_method_nothing_starts(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(InputError, match="shuffled asks a trained ilora, and there is none") as caught:
        run_benchmark(plan(tmp_path, tiny_model, "popularity", "shuffled"))
    assert "--methods ilora,shuffled" in caught.value.hint
    assert not list(tmp_path.glob("results/*"))
