"""Progress tells what happens now in a terminal, and little but enough where there is none."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from core.events import (
    Evaluated,
    Failed,
    Fetching,
    Finished,
    MethodFinished,
    Notice,
    PlanMade,
    StageStarted,
    StepLogged,
    Stopped,
    TimeLeft,
)
from ilora_app.render.progress import ProgressView

PLAN = PlanMade(
    dataset="movielens",
    split="paper",
    preset="quick",
    methods=["popularity", "ilora"],
    seeds=[0],
    config={
        "model": {"name": "smollm2", "quantize": "nf4"},
        "training": {"objective": "listwise", "samples": 800},
    },
    minutes=12.4,
    samples_sha256="5a" * 32,
    cases={"spread": 285, "last": 95},
)
DONE = MethodFinished(
    "ilora", 0, "somewhere.json", False, {"spread": {"HR@1": 0.454}, "last": {"HR@1": 0.4421}}
)


@pytest.fixture(autouse=True)
def an_able_terminal(monkeypatch):
    """Whatever runs the tests, the terminals in them can move their cursor."""
    monkeypatch.setenv("TERM", "xterm-256color")


class Clock:
    """Time that passes when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def watched(events, *, terminal: bool = False, seconds: float = 0.0, width: int = 80) -> str:
    """What a view has written after these events, with some seconds between them."""
    clock, file = Clock(), io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=terminal, force_interactive=terminal, no_color=True
    )
    with ProgressView(console, clock) as view:
        for event in events:
            view(event)
            clock.now += seconds
            if view._live is not None:
                view._live.refresh()
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


def steps(count: int) -> list[StepLogged]:
    return [
        StepLogged(
            "ilora", 0, "train", step, count, 2.0, 1.9, 8.0 * (count - step), 1e-3, [0.28, 0.27, 0.33, 0.12]
        )
        for step in range(1, count + 1)
    ]


def test_the_plan_comes_first_and_says_how_long():
    for terminal in (True, False):
        text = watched([PLAN], terminal=terminal)
        for fact in (
            "movielens",
            "paper split",
            "285 spread",
            "iLoRA",
            "smollm2, nf4",
            "800 samples",
            "12 min",
        ):
            assert fact in text


def test_a_terminal_sees_step_loss_speed_time_left_gate_and_validation():
    events = [PLAN, StageStarted("ilora", 0, "train", 20), *steps(5)]
    text = watched(
        [*events, Evaluated("ilora", 0, "validation", 120, {"HR@1": 0.4}, 5), steps(20)[9]], terminal=True
    )
    for fact in (
        "training",
        "10/20",
        "loss 2.000",
        "1.90 samples/s",
        "1m 20s left",
        "HR@1 .400 (n 120)",
        ".28 .27",
    ):
        assert fact in text
    assert "0 of 2 runs done" in text


def test_without_a_terminal_a_stage_speaks_at_most_every_ten_seconds():
    lines = watched([StageStarted("ilora", 0, "train", 100), *steps(100)], seconds=1.0).splitlines()
    assert 9 <= len(lines) <= 11
    assert lines[0] == "iLoRA seed 0: training 0/100"
    assert "loss 2.000" in lines[1]


def test_without_a_terminal_there_are_no_escape_codes_and_long_lines_stay_whole():
    text = watched([Notice("a long story " * 20), PLAN, *steps(3), DONE])
    assert "\x1b" not in text
    assert "a long story " * 20 in text


def test_a_finished_method_stays_as_one_line_with_its_cases():
    for terminal in (True, False):
        text = watched([PLAN, StageStarted("ilora", 0, "test"), DONE], terminal=terminal)
        assert "done iLoRA: HR@1 .454 spread (n 285), .442 last (n 95)" in text
    reused = MethodFinished("ilora", 0, "somewhere.json", True, DONE.metrics)
    assert "on disk already" in watched([PLAN, reused])


def test_seeds_are_named_where_there_are_several():
    several = PlanMade(**{**PLAN.__dict__, "seeds": [0, 1]})
    assert "done iLoRA seed 0:" in watched([several, DONE])
    assert "done iLoRA:" in watched([PLAN, DONE])


def test_fetching_shows_a_bar_or_one_line():
    events = [Fetching("movielens", "a mirror", done, 4_000_000) for done in range(0, 4_000_001, 500_000)]
    assert watched(events).splitlines() == ["fetching movielens from a mirror (4.00 MB)"]
    assert "2.00 MB of 4.00 MB" in watched(events, terminal=True)
    assert "fetching x from y" in watched([Fetching("x", "y", 10, 0)], terminal=True)


def test_notices_warnings_and_stops_are_said_in_words():
    text = watched(
        [Notice("chose quick"), Notice("little memory", "warning"), Stopped("ilora", 0, "train", 7)]
    )
    assert text.splitlines() == [
        "info: chose quick",
        "warning: little memory",
        "stopped: iLoRA seed 0, training, step 7; the same command goes on from there",
    ]


def test_text_in_brackets_is_not_taken_for_markup():
    assert "[bold]x[/bold] [/]" in watched([Notice("[bold]x[/bold] [/]")])


def test_events_of_others_are_ignored_and_failures_left_to_the_exit_door():
    events = [
        Failed("no", "hint"),
        Evaluated("ilora", 0, "last", 3, {}),
    ]
    assert watched(events) == ""


def test_the_end_is_said_and_the_live_view_goes():
    text = watched([PLAN, DONE, Finished(724.0, [])], terminal=True)
    assert "finished in 12m 04s" in text
    assert "\x1b[?25h" in text  # the cursor is shown again


def test_an_error_inside_leaves_the_terminal_usable():
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, force_interactive=True)
    try:
        with ProgressView(console) as view:
            view(steps(3)[0])
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert file.getvalue().rstrip().endswith("\x1b[2K") or "\x1b[?25h" in file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_the_time_left_for_all_of_it_goes_by_where_nothing_is_said(terminal: bool) -> None:
    events = [PLAN, StageStarted("ilora", 0, "train", 20), TimeLeft(600.0), *steps(2)]
    text = watched(events, terminal=terminal, seconds=20.0)
    assert "all of it: about 9m 40s left" in text  # 20 s after it was said
    assert "10m 00s" not in watched([*events, Finished(1.0, [])], terminal=terminal).rpartition("finished")[2]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_finished_method_shows_its_interval_and_its_cases_at_once(terminal: bool) -> None:
    row = MethodFinished("ilora", 0, "x", False, {"spread": {"HR@1": 0.454}}, {"spread": [0.401, 0.512]})
    text = watched([PLAN, row], terminal=terminal, width=120)
    assert "iLoRA: HR@1 .454 [.40, .51] spread (n 285)" in text


def test_a_stage_that_counts_nothing_tells_the_seconds() -> None:
    events = [StageStarted("lora", 0, "load", 8), StepLogged("lora", 0, "load", 3, 8, seconds_left=5.0)]
    text = watched(events, seconds=11.0)
    assert "LoRA seed 0: loading 0 s of about 8 s" in text
    assert "LoRA seed 0: loading 3 s of about 8 s · 5.0 s left" in text
    assert watched([StageStarted("", 0, "convert", 20)]).startswith("converting the model 0 s of about 20 s")
    late = [StageStarted("lora", 0, "load", 8), StepLogged("lora", 0, "load", 12, 8)]
    assert "LoRA seed 0: loading 12 s, 8 s expected" in watched(late, seconds=20.0)
