"""Train: the cost comes first, the curves follow the log, and the training outlives the screen."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual.widgets import Input

from core.events import Event, StepLogged
from core.serving.protocol import Estimate
from ilora_app.tui.engine import trainings
from ilora_app.tui.engine.trainings import (
    Log,
    TrainingProcess,
    last_training,
    running_training,
    start_training,
)
from ilora_app.tui.screens import train
from ilora_app.tui.screens.dialogs.ask import Ask
from ilora_app.tui.screens.train import TrainScreen
from ilora_app.tui.state.progress import Progress
from ilora_app.tui.widgets.curves import CurvePlot
from ilora_app.tui.widgets.form import Form
from tests.tui.conftest import Drive, settle, text_of

RECORDED = Path(__file__).parent / "recorded" / "training.jsonl"

TRAINER = """
import os, signal, sys, time
asked = []
signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
for line in open(sys.argv[1], encoding="utf-8"):
    print(line, end="", flush=True)
    if '"ilora"' in line and '"StepLogged"' in line:
        for _ in range(2000):
            if asked:
                end = '{"event": "Stopped", "method": "ilora", "seed": 0, "stage": "train", "step": 3}'
                print(end, flush=True)
                sys.exit(130)
            time.sleep(0.02)
"""
"""Says what was recorded up to iLoRA's first step, then waits to be stopped."""


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[TrainingProcess]]:
    """`start_training` starts a stand-in; whatever it started is gone afterwards."""
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "{RECORDED}"\n')
    python.chmod(0o755)
    monkeypatch.setattr(trainings, "AGAIN", (str(python), "-P", "-m", "ilora_app"))
    started: list[TrainingProcess] = []
    real = trainings.start_training

    def start(out: Path, options: Any) -> TrainingProcess:
        started.append(real(out, options))
        return started[-1]

    monkeypatch.setattr(train, "start_training", start)
    yield started
    for training in started:
        if psutil.pid_exists(training.pid):
            os.kill(training.pid, 9)


async def until(pilot: Any, condition: Any) -> None:
    for _ in range(200):
        if condition():
            return
        await pilot.pause(0.05)
    raise AssertionError("it never came")


async def in_training(app: Any, pilot: Any) -> TrainScreen:
    await pilot.press("3")
    await settle(pilot)
    screen = app.screen
    assert isinstance(screen, TrainScreen)
    await pilot.press("enter")
    await settle(pilot)
    await pilot.press("y")
    await until(pilot, lambda: screen.progress.method == "ilora" and screen.progress.curve.losses)
    await settle(pilot)
    return screen


# --- what the log says -----------------------------------------------------------------------------------


def events() -> list[Event]:
    return [Event.from_json(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]


def test_recorded_lines_become_curves_figures_and_an_ending() -> None:
    progress = Progress()
    for event in events():
        progress.take(event)
    assert progress.plan is not None
    assert len(progress.done) == len(progress.plan.methods)
    assert progress.ending.startswith("finished")
    gated = progress.curves["ilora", 0]
    assert len(gated.losses) == len([event for event in events() if of_ilora(event)])
    assert gated.validations
    assert gated.gates
    assert all(0 <= value <= 1 for value in gated.entropy)
    assert all(sum(gate) == pytest.approx(1, abs=0.01) for gate in gated.gates)


def of_ilora(event: Event) -> bool:
    return isinstance(event, StepLogged) and event.method == "ilora" and event.loss is not None


def test_a_line_half_written_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = RECORDED.read_text(encoding="utf-8").splitlines(keepends=True)
    log = Log(str(path))
    assert log.read() == []
    path.write_text(lines[0] + lines[1][:20], encoding="utf-8")
    assert len(log.read()) == 1
    with path.open("a", encoding="utf-8") as file:
        file.write(lines[1][20:] + "what is this\n")
    assert len(log.read()) == 1
    assert log.odd == ["what is this"]


def test_a_training_whose_pid_is_used_again_is_not_taken_for_it(tmp_path: Path) -> None:
    training = TrainingProcess(os.getpid(), time.time() - 1_000_000, [], "", "")
    assert not training.running
    training.stop()  # nobody is hit
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "job.json").write_text("{")
    assert last_training(tmp_path) is None


def noted(out: Path, **changes: Any) -> TrainingProcess | None:
    """What is made of a note that somebody else left."""
    command = ["python", "-m", "ilora_app", "bench", "--dataset", "tiny", "--out", "elsewhere", "--json"]
    note = {"pid": 1, "started": 0.0, "command": command, "log": "a.jsonl", "errors": "a.err", **changes}
    (out / "training").mkdir(exist_ok=True)
    (out / "training" / "job.json").write_text(json.dumps(note))
    return last_training(out)


@pytest.mark.parametrize(
    "options",
    [
        ["--chat-url", "http://evil.example/v1"], ["--tensorboard", "/tmp/elsewhere"], ["--methods"],
        ["--dataset", "--out"], ["evil.toml"], ["--preset", "quick", "--config", "x"],
        ["--seeds", "1", "-h"],
    ],
)  # fmt: skip
def test_a_note_never_makes_a_training_be_repeated_with_options_that_the_form_has_not(
    tmp_path: Path, options: list[str]
) -> None:
    assert noted(tmp_path) is not None
    command = ["python", "-m", "ilora_app", "bench", *options, "--out", "x", "--json"]
    assert noted(tmp_path, command=command) is None


@pytest.mark.parametrize("pid", [0, -1, 2**31, 10**30])
def test_a_note_of_an_impossible_process_is_none(tmp_path: Path, pid: int) -> None:
    assert noted(tmp_path, pid=pid) is None


def test_a_note_leads_to_files_beside_it_alone_and_to_none_that_never_ends(tmp_path: Path) -> None:
    training = noted(tmp_path, log="/etc/passwd", errors="../../secret")
    assert training is not None
    assert (training.log, training.errors) == (
        str(tmp_path / "training/passwd"),
        str(tmp_path / "training/secret"),
    )
    for path in (training.log, training.errors):
        os.mkfifo(path)
    assert Log(training.log).read() == [] and training.last_words == ""


# --- the screen ------------------------------------------------------------------------------------------


async def test_the_cost_is_shown_before_anything_starts(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("3")
        await until(pilot, lambda: "about 12m" in text_of(app))
        assert "1.62 GB" in text_of(app)
        form = app.screen.query_one(Form)
        assert "zero-shot" not in form.switched_on("method-")
        await pilot.press("down", "right")
        await until(pilot, lambda: app.app_state.main.asked[-1].__dict__.get("preset") == "standard")
        assert isinstance(app.app_state.main.asked[-1], Estimate)
        assert running_training(app.app_state.out) is None


async def test_curves_gate_and_figures_follow_the_training(
    drive: Drive, trainer: list[TrainingProcess]
) -> None:
    async with drive() as (app, pilot):
        screen = await in_training(app, pilot)
        shown = text_of(app)
        for piece in (
            "Training loss",
            "Validation HR@1",
            "Experts' mean use",
            "entropy",
            "iLoRA · ",
            "memory",
        ):
            assert piece in shown, piece
        assert screen.query_one("#loss", CurvePlot).points
        assert "▶ running" in shown
        assert trainer[0].shown.startswith("ilora-app bench --dataset made-up --preset quick")


@pytest.mark.parametrize("focused", [True, False])
async def test_one_key_pauses_and_lets_go_on_whatever_has_the_focus(
    drive: Drive, trainer: list[TrainingProcess], focused: bool
) -> None:
    async with drive() as (app, pilot):
        screen = await in_training(app, pilot)
        screen.set_focus(screen.query_one(Form) if focused else None)
        plan = screen._options()
        await pilot.press("p")
        await until(pilot, lambda: trainer[0].paused and "paused: p goes on" in text_of(app))
        await pilot.press("p")
        await until(pilot, lambda: not trainer[0].paused)
        assert screen._options() == plan
        app.app_state.precision = "float32"
        assert screen._options() == [*plan, "--precision", "float32"]
        app.app_state.precision = "auto"


async def test_a_stopped_training_goes_on_with_its_own_settings_and_the_form_shows_them(
    drive: Drive, trainer: list[TrainingProcess]
) -> None:
    async with drive() as (app, pilot):
        screen = await in_training(app, pilot)
        await pilot.press("x")
        await until(pilot, lambda: screen.progress.ending)
        assert "stopped at step 3 of iLoRA; c goes on" in text_of(app)
        await until(pilot, lambda: not trainer[0].running)
    async with drive() as (app, pilot):
        await pilot.press("3")
        await settle(pilot)
        screen, form = app.screen, app.screen.query_one(Form)
        await until(pilot, lambda: screen.progress.ending)
        assert screen._options() == trainer[0].options
        form.focus()
        form.cursor = [setting.key for setting in form.settings].index("preset")
        await pilot.press("right")
        await settle(pilot)
        assert screen._options() != trainer[0].options
        await pilot.press("c")
        await until(pilot, lambda: len(trainer) == 2 and screen.progress.method == "ilora")
        assert trainer[1].command == trainer[0].command
        assert screen._options() == trainer[0].options


async def test_time_and_memory_are_asked_about_before_anything_starts(
    drive: Drive, trainer: list[TrainingProcess]
) -> None:
    async with drive() as (app, pilot):
        await pilot.press("3")
        await until(pilot, lambda: "about 12m" in text_of(app))
        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.screen, Ask)
        assert "about 12m" in text_of(app)
        assert "1.62 GB of memory" in text_of(app)
        await pilot.press("b")
        await settle(pilot)
        assert trainer == []


async def test_what_a_training_would_fetch_is_named_before_the_yes(
    drive: Drive, trainer: list[TrainingProcess]
) -> None:
    from tests.tui.stand_in import with_options

    async with drive(engine=with_options(cached=False)) as (app, pilot):
        await pilot.press("escape", "3")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        shown = " ".join(text_of(app).split())
        for piece in ("4.92 MB", "https://example.org", "GroupLens research licence", "fetch and start"):
            assert piece in shown, piece
        assert trainer == []


async def test_on_a_small_screen_the_answers_stay_in_sight_below_a_long_question(
    drive: Drive, trainer: list[TrainingProcess]
) -> None:
    from tests.tui.stand_in import with_options

    async with drive(size=(60, 12), engine=with_options(cached=False)) as (app, pilot):
        await pilot.press("escape", "3")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        shown = text_of(app)
        assert "fetch and start" in shown and "b back" in shown
        assert "Research use" not in shown
        await pilot.press(*["down"] * 12)
        await settle(pilot)
        shown = text_of(app)
        assert "fetch and start" in shown and "b back" in shown
        assert "Research use" in shown
        await pilot.press("b")
        await settle(pilot)
        assert trainer == []


async def test_while_the_cost_is_estimated_it_says_for_how_long(drive: Drive) -> None:
    async with drive() as (app, pilot):
        app.app_state.main.held = (Estimate,)  # type: ignore[attr-defined]
        await pilot.press("3")
        await settle(pilot)
        app.screen._asked_at -= 30  # type: ignore[attr-defined]
        await until(pilot, lambda: re.search(r"estimating … 3\d s", text_of(app)) is not None)


async def test_an_estimate_is_asked_once_for_each_plan(drive: Drive) -> None:
    async with drive() as (app, pilot):

        def plans() -> list[Any]:
            return [request for request in app.app_state.main.asked if isinstance(request, Estimate)]

        await pilot.press("3")
        await until(pilot, lambda: len(plans()) == 1)
        await pilot.press("down", "right")
        await until(pilot, lambda: len(plans()) == 2)
        await pilot.press("left")
        await pilot.pause(0.6)
        await settle(pilot)
        assert "about 12m" in text_of(app)
        assert len(plans()) == 2


async def test_leaving_a_paused_training_asks_and_can_let_it_go_on(
    drive: Drive, trainer: list[TrainingProcess]
) -> None:
    async with drive() as (app, pilot):
        await in_training(app, pilot)
        await pilot.press("p")
        await until(pilot, lambda: trainer[0].paused)
        await pilot.press("q")
        await settle(pilot)
        assert "is paused" in text_of(app)
        await pilot.press("g")
        await settle(pilot)
    assert trainer[0].running
    assert not trainer[0].paused


async def test_a_training_stopped_before_its_first_word_is_told_as_stopped(
    drive: Drive, trainer: list[TrainingProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with drive() as (app, pilot):
        screen = await in_training(app, pilot)
        screen.following.progress = Progress()
        monkeypatch.setattr(Log, "read", lambda self: [])
        await pilot.press("x")
        await until(pilot, lambda: screen.progress.ending)
        await settle(pilot)
        assert "stopped before it learnt anything" in text_of(app)
        assert "without a word" not in text_of(app)


async def test_closing_asks_the_training_goes_on_and_is_found_again(
    drive: Drive, trainer: list[TrainingProcess]
) -> None:
    async with drive() as (app, pilot):
        await in_training(app, pilot)
        await pilot.press("q")
        await settle(pilot)
        assert isinstance(app.screen, Ask)
        assert "leave it running" in text_of(app)
        await pilot.press("b")
        await settle(pilot)
        assert isinstance(app.screen, TrainScreen)
        await pilot.press("q")
        await settle(pilot)
        await pilot.press("l")
        await settle(pilot)
    assert trainer[0].running
    async with drive() as (app, pilot):
        await pilot.press("3")
        screen = app.screen
        assert isinstance(screen, TrainScreen)
        await until(pilot, lambda: screen.progress.method == "ilora" and screen.progress.curve.losses)
        assert screen.training == trainer[0]
        assert "▶ running" in text_of(app)


async def test_a_training_that_dies_leaves_its_last_words(
    drive: Drive, trainer: list[TrainingProcess]
) -> None:
    async with drive() as (app, pilot):
        screen = await in_training(app, pilot)
        Path(trainer[0].errors).write_text("Traceback …\nRuntimeError: out of luck\n")
        os.kill(trainer[0].pid, 9)
        await until(pilot, lambda: screen.progress.ending)
        await settle(pilot)
        assert "out of luck" in text_of(app)


def test_the_training_is_noted_so_that_it_can_be_found(
    tmp_path: Path, trainer: list[TrainingProcess]
) -> None:
    training = start_training(tmp_path / "runs", ["--preset", "quick"])
    trainer.append(training)
    assert last_training(tmp_path / "runs") == training
    assert running_training(tmp_path / "runs") == training


async def test_the_first_run_that_training_makes_is_opened(drive: Drive) -> None:
    from tests.tui.stand_in import ILORA, with_options

    async with drive(engine=with_options(runs=False)) as (app, pilot):
        assert app.app_state.run is None
        app.app_state.main.options = {"runs": True}
        app.app_state.ask_survey()
        await until(pilot, lambda: app.app_state.run == ILORA)
        await settle(pilot)
        assert "iLoRA ranks 20 candidates" in text_of(app)


async def test_any_model_and_any_number_of_samples_can_be_named(
    drive: Drive, trainer: list[TrainingProcess]
) -> None:
    async with drive() as (app, pilot):
        await pilot.press("3")
        await settle(pilot)
        await pilot.press("m")
        await settle(pilot)
        assert "hub" in text_of(app)
        await pilot.press(*"./nowhere", "enter")
        await settle(pilot)
        assert "there is no nowhere" in text_of(app)
        app.screen.query_one(Input).value = "someone/small-model"
        await pilot.press("enter")
        await settle(pilot)
        form = app.screen.query_one(Form)
        assert form.value("model") == "someone/small-model"
        form.cursor = [setting.key for setting in form.settings].index("samples")
        await pilot.press("right", "right", "right", "right")
        await settle(pilot)
        await pilot.press(*"0", "enter")
        await settle(pilot)
        assert "1 or more" in text_of(app)
        app.screen.query_one(Input).value = "48"
        await pilot.press("enter")
        await until(pilot, lambda: app.app_state.main.asked[-1].__dict__.get("samples") == 48)
        assert app.app_state.main.asked[-1].model == "someone/small-model"
        await pilot.press("enter")
        await settle(pilot)
        await pilot.press("y")
        await until(pilot, lambda: trainer)
        assert "--model someone/small-model --samples 48" in trainer[0].shown


async def test_e_asks_for_a_value_of_ones_own_where_the_line_takes_one(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("3")
        await settle(pilot)
        form = app.screen.query_one(Form)
        keys = [setting.key for setting in form.settings]
        for key, asks in (("seeds", False), ("samples", True)):
            form.cursor = keys.index(key)
            await pilot.press("e")
            await settle(pilot)
            assert ("How many samples" in text_of(app)) == asks


async def test_gpu_memory_is_shown_where_a_step_tells_it(
    drive: Drive, trainer: list[TrainingProcess]
) -> None:
    async with drive() as (app, pilot):
        screen = await in_training(app, pilot)
        assert "GPU" not in text_of(app)
        screen.progress.take(StepLogged("ilora", 0, "train", 4, 5, 1.0, gpu_memory=3_100_000_000))
        screen._draw()
        await settle(pilot)
        assert "GPU 3.10 GB" in text_of(app)


@pytest.mark.parametrize("width", [80, 120])
async def test_plots_without_points_say_what_will_be_there(drive: Drive, width: int) -> None:
    async with drive(size=(width, 40)) as (app, pilot):
        await pilot.press("3")
        await settle(pilot)
        assert "The loss, as it falls." in text_of(app)
        assert "0.8" not in text_of(app)
