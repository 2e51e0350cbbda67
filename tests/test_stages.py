"""Long work says that it goes on, ends soon where somebody stops it, and gives its result or its error."""

from __future__ import annotations

import threading
import time

import pytest

from core.errors import Interrupted, ModelError
from core.events import Event, StageStarted, StepLogged
from core.stages import Watch


def test_work_that_counts_nothing_tells_the_seconds_that_went_by() -> None:
    events: list[Event] = []
    found = Watch(events.append, method="lora", seed=3).wait("load", lambda: time.sleep(2.5) or 7, 5.0)
    assert found == 7
    assert events[0] == StageStarted("lora", 3, "load", 5)
    steps = [event for event in events if isinstance(event, StepLogged)]
    assert [step.step for step in steps] == [1, 2]
    assert all(step.total == 5 and step.seconds_left is not None for step in steps)
    assert steps[1].seconds_left < steps[0].seconds_left  # type: ignore[operator]


def test_work_that_is_stopped_ends_within_two_seconds_and_leaves_no_thread() -> None:
    tidied = threading.Event()

    def endless() -> None:
        try:
            while True:
                time.sleep(0.01)
        finally:
            tidied.set()

    started = time.monotonic()
    with pytest.raises(Interrupted):
        Watch(should_stop=lambda: time.monotonic() - started > 0.3).wait("load", endless)
    assert time.monotonic() - started < 2
    assert tidied.is_set()


def test_an_error_in_the_work_is_the_caller_s() -> None:
    def fails() -> None:
        raise ModelError("no such model")

    with pytest.raises(ModelError, match="no such model"):
        Watch([].append).wait("load", fails)


def test_a_stage_that_counts_says_how_far_it_is_how_fast_and_that_it_is_done() -> None:
    events: list[Event] = []
    stage = Watch(events.append, method="zero-shot").stage("validate", 48)
    for _ in range(12):
        stage.advance(4)
    assert events[0] == StageStarted("zero-shot", 0, "validate", 48)
    last = events[-1]
    assert isinstance(last, StepLogged)
    assert (last.step, last.total, last.seconds_left) == (48, 48, 0)
    assert last.samples_per_second
    assert len(events) < 12  # not one for every batch
