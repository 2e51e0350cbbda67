"""The time left for all of a benchmark follows what has been measured, not only what was thought."""

from __future__ import annotations

import pytest

from core.benchmark.clock import Clock
from core.benchmark.costs import Stage
from core.events import Event, MethodFinished, StageStarted, StepLogged, Stopped, TimeLeft

FIRST, SECOND = ("lora", 0), ("ilora", 0)


def stages(method: str) -> list[Stage]:
    """Ten seconds of loading, a hundred of training, twenty of testing."""
    return [
        Stage("load", method, 10.0, pace="load"),
        Stage("train", method, 100.0, 50, "train listwise"),
        Stage("validate", method, 20.0, 100, "rank listwise"),
        Stage("test", method, 20.0, 100, "rank listwise"),
    ]


class Watched:
    """A clock with time that passes when told to."""

    def __init__(self) -> None:
        self.now, self.events = 0.0, list[Event]()
        plan = {run: stages(run[0]) for run in (FIRST, SECOND)}
        self.clock = Clock(plan, self.events.append, lambda: self.now)

    def after(self, seconds: float, event: Event) -> float:
        """What is left once an event came, so many seconds later."""
        self.now += seconds
        self.clock(event)
        return self.clock.seconds()


def step(method: str, stage: str, done: int, total: int) -> StepLogged:
    return StepLogged(method, 0, stage, done, total)


def test_before_anything_was_measured_it_is_what_was_thought() -> None:
    assert Watched().clock.seconds() == pytest.approx(300)


def test_a_slow_training_corrects_what_is_left_of_it_and_of_the_next_one() -> None:
    watched = Watched()
    watched.after(0, StageStarted("lora", 0, "load"))
    watched.after(10, StageStarted("lora", 0, "train", 50))
    left = watched.after(40, step("lora", "train", 10, 50))  # 4 s a step, where 2 were thought
    assert left == pytest.approx(160 + 20 + 20 + 10 + 200 + 20 + 20)


def test_validations_are_counted_over_all_of_them_and_correct_the_test() -> None:
    watched = Watched()
    watched.after(0, StageStarted("lora", 0, "train", 50))
    watched.after(50, step("lora", "train", 25, 50))
    watched.after(0, StageStarted("lora", 0, "validate", 50))
    watched.after(20, step("lora", "validate", 50, 50))  # 0.4 s a case, where 0.2 were thought
    watched.after(0, step("lora", "train", 26, 50))
    left = watched.clock.seconds()
    assert left == pytest.approx(48 + 20 + 40 + 10 + 100 + 40 + 40, rel=0.02)
    watched.after(48, step("lora", "train", 50, 50))
    watched.after(0, StageStarted("lora", 0, "validate", 50))
    watched.after(10, step("lora", "validate", 25, 50))
    assert watched.clock.seconds() == pytest.approx(10 + 40 + 190, rel=0.02)


def test_a_training_that_goes_on_is_not_thought_to_have_been_done_in_a_moment() -> None:
    watched = Watched()
    watched.after(0, StageStarted("lora", 0, "train", 50))
    watched.after(2, step("lora", "train", 41, 50))
    left = watched.after(8, step("lora", "train", 45, 50))  # 5 steps in 10 s
    assert left == pytest.approx(10 + 20 + 20 + 150, rel=0.02)


def test_a_finished_method_takes_its_time_with_it_and_the_time_left_is_told() -> None:
    watched = Watched()
    left = watched.after(500, MethodFinished("lora", 0, "", False, {}))
    assert left == pytest.approx(150)
    assert watched.events[-1] == TimeLeft(150.0)
    assert watched.after(1, MethodFinished("ilora", 0, "", False, {})) == 0


def test_what_takes_longer_than_was_thought_never_takes_no_time_at_all() -> None:
    watched = Watched()
    watched.after(0, StageStarted("lora", 0, "load"))
    assert watched.after(60, step("lora", "load", 60, 10)) > 290


def test_everything_is_passed_on_and_a_stop_is_told_once() -> None:
    watched = Watched()
    events = [StageStarted("lora", 0, "load"), step("lora", "load", 1, 10), step("lora", "load", 3, 10)]
    for event in events:
        watched.after(0.1, event)
    assert [event for event in watched.events if not isinstance(event, TimeLeft)] == events
    watched.clock.tell_stop("lora", 0)
    watched.clock.tell_stop("lora", 0)
    assert [event for event in watched.events if isinstance(event, Stopped)] == [
        Stopped("lora", 0, "load", 3)
    ]
