"""No stage of a benchmark is silent, and each can be stopped soon."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from core.benchmark.run import Plan, run_benchmark
from core.errors import Interrupted
from core.events import Event, MethodFinished, PlanMade, StageStarted, StepLogged, Stopped, TimeLeft
from core.lm.likelihood import AnswerRanker
from core.recommenders.zero_shot import ZeroShot
from tests import tiny

pytestmark = pytest.mark.usefixtures("tiny_home")

LONG = [
    ("sasrec", "train"),
    ("sasrec", "test"),
    ("morec", "load"),
    ("morec", "read"),
    ("morec", "train"),
    ("zero-shot", "load"),
    ("zero-shot", "validate"),
    ("zero-shot", "test"),
    ("lora", "load"),
    ("lora", "read"),
    ("lora", "train"),
    ("lora", "validate"),
    ("lora", "test"),
]
SOON = 4.0
"""Seconds: two are promised, and tests share the machine."""


def plan(out: Path, model: Path, methods: Any) -> Plan:
    return Plan(tiny.config(model, samples=8), tuple(methods), (0,), out, "quick", "ilora-app bench")


def test_every_long_stage_begins_and_says_how_far_it_is(tmp_path: Path, tiny_model: Path) -> None:
    events: list[Event] = []
    methods = ["popularity", "sasrec", "morec", "zero-shot", "lora"]
    run_benchmark(plan(tmp_path, tiny_model, methods), events.append)
    begun = {(event.method, event.stage): event for event in events if isinstance(event, StageStarted)}
    assert set(LONG) <= set(begun)
    counted = {
        (event.method, event.stage)
        for event in events
        if isinstance(event, StepLogged) and event.total and event.step == event.total
    }
    assert {stage for stage in LONG if stage[1] != "load"} <= counted
    left = [event.seconds for event in events if isinstance(event, TimeLeft)]
    (planned,) = [event.minutes for event in events if isinstance(event, PlanMade)]
    assert left and planned > 0
    assert left[0] <= 60 * planned + 0.1
    assert all(
        event.intervals["spread"][0] <= event.metrics["spread"]["HR@1"] <= event.intervals["spread"][1]
        for event in events
        if isinstance(event, MethodFinished)
    )


@pytest.mark.parametrize(("method", "stage"), LONG)
def test_a_stop_ends_each_stage_soon_says_where_and_the_same_plan_goes_on(
    method: str, stage: str, tmp_path: Path, tiny_model: Path
) -> None:
    events: list[Event] = []
    begun: list[float] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, StageStarted) and (event.method, event.stage) == (method, stage):
            begun.append(time.monotonic())

    asked = plan(tmp_path, tiny_model, [method])
    with pytest.raises(Interrupted):
        run_benchmark(asked, emit, lambda: bool(begun))
    assert time.monotonic() - begun[0] < SOON
    (stopped,) = [event for event in events if isinstance(event, Stopped)]
    assert (stopped.method, stopped.stage) == (method, stage)
    assert len(run_benchmark(asked)) == 1


def test_zero_shot_reads_its_validation_cases_once_for_both_countings(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    ask = AnswerRanker.token_likelihoods

    def counted(self: AnswerRanker, histories: Any, *rest: Any) -> Any:
        read.append(len(histories))
        return ask(self, histories, *rest)

    monkeypatch.setattr(AnswerRanker, "token_likelihoods", counted)
    task = tiny.task(tiny.config(tiny_model), tmp_path)
    method = ZeroShot()
    report = method.fit(task)
    assert sum(read) == min(ZeroShot.VALIDATION_CASES, len(task.samples.validation))
    assert "chosen on" in report.notes[0]


def test_zero_shot_chooses_the_counting_that_ranks_validation_better(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tiny.task(tiny.config(tiny_model), tmp_path)
    targets = {case.history: case.candidates.index(case.target) for case in task.samples.validation}

    def likelihoods(_: Any, histories: Any, rows: Any, *__: Any) -> Any:
        import torch

        total = torch.zeros(len(rows), len(rows[0]))
        lengths = torch.ones_like(total)
        for row, history in enumerate(histories):
            total[row] = -1.0
            total[row, targets[history]] = -2.0
            lengths[row, targets[history]] = 4.0  # the mean alone puts the target first
        return total, lengths

    monkeypatch.setattr(AnswerRanker, "token_likelihoods", likelihoods)
    method = ZeroShot()
    method.fit(task)
    assert method.mean
