"""Curves: runs over each other, each with its own mark, scales, smoothing, zoom; the live one too."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import psutil
import pytest
from textual.events import MouseScrollUp

from core.events import Evaluated, MethodFinished, StepLogged
from core.records import plain
from core.serving.protocol import Curves, RunListed
from ilora_app.tui.drawing.inks import SIGNS, sign_of
from ilora_app.tui.engine.trainings import CARD, TrainingProcess
from ilora_app.tui.screens.curves import CurvesScreen
from ilora_app.tui.state.curves_state import LOSS, CurvesState, figures_of, smoothed
from ilora_app.tui.state.progress import Progress
from ilora_app.tui.widgets.chart import Chart, PowerLabels
from ilora_app.tui.widgets.learners import LearnerList
from tests.tui.conftest import Drive, settle, text_of
from tests.tui.stand_in import ILORA, LORA, learnt, run


def listed(method: str, path: str, day: int) -> RunListed:
    found: Any = {**run(method, path), "created": f"2026-01-{day:02}T00:00:00+00:00"}
    return found  # type: ignore[no-any-return]


def test_a_run_keeps_its_sign_whatever_comes_goes_or_is_hidden() -> None:
    old, new = listed("ilora", "runs/models/a", 1), listed("lora", "runs/models/b", 2)
    curves = CurvesState()
    curves.take_runs([new, old], "made-up")
    signs = {learner.key: learner.sign for learner in curves.learners}
    assert len(set(signs.values())) == 2
    curves.toggle("runs/models/a")
    curves.take_runs([listed("sasrec", "runs/models/c", 3), new, old], "made-up")
    curves.take_runs([listed("sasrec", "runs/models/c", 3), new], "made-up")
    later = {learner.key: learner.sign for learner in curves.learners}
    assert later["runs/models/b"] == signs["runs/models/b"]
    assert later["runs/models/c"] not in signs.values()


def test_a_run_on_disk_takes_over_the_sign_of_the_training_that_made_it() -> None:
    curves, progress = CurvesState(), Progress()
    curves.take_runs([listed("lora", "runs/models/a", 1)], "made-up")
    progress.take(StepLogged("ilora", 0, "train", 4, 8, 1.5))
    curves.take_progress(progress)
    live = curves.learners[0]
    assert live.live
    assert live.key in curves.shown
    progress.take(MethodFinished("ilora", 0, "x.json", False, {}))
    curves.take_progress(progress)
    assert [learner.live for learner in curves.learners] == [False]
    curves.take_runs([listed("ilora", "runs/models/b", 2), listed("lora", "runs/models/a", 1)], "made-up")
    made = next(learner for learner in curves.learners if learner.key == "runs/models/b")
    assert made.sign == live.sign
    assert made.key in curves.shown


def test_at_first_the_newest_run_of_each_method_is_drawn() -> None:
    curves = CurvesState()
    runs = [listed("ilora", "c", 3), listed("lora", "b", 2), listed("ilora", "a", 1)]
    other = replace_dataset(listed("lora", "d", 4), "elsewhere")
    asked = curves.take_runs([other, *runs], "made-up")
    assert curves.shown == {"b", "c"}
    assert asked == ["d", "c", "b", "a"]


def replace_dataset(record: RunListed, dataset: str) -> RunListed:
    return {**record, "dataset": dataset}


def test_smoothing_is_unbiased_at_its_start_and_none_changes_nothing() -> None:
    values = [3.0, 1.0, 2.0]
    assert smoothed(values, 0.0) == values
    assert smoothed([5.0] * 6, 0.9) == pytest.approx([5.0] * 6)
    assert smoothed(values, 0.6)[0] == pytest.approx(3.0)
    assert smoothed(values, 0.6)[1] == pytest.approx((0.6 * 0.4 * 3 + 0.4 * 1) / (1 - 0.36))


def test_a_log_scale_takes_logarithms_and_names_the_values_themselves() -> None:
    curves = CurvesState()
    curves.take_runs([listed("ilora", ILORA, 1)], "made-up")
    curves.take_curves([{"run": ILORA, "points": [{"step": 1, "loss": 0.0}, {"step": 2, "loss": 100.0}]}])
    curves.figure, curves.log = LOSS, True
    ((_, points),) = curves.lines()
    assert points == [(2, pytest.approx(2.0))]
    labels = PowerLabels()
    ticks = labels.get_ticks(0.0, 2.0)
    assert labels.get_labels_for_ticks(ticks) == ["1", "2", "5", "10", "20", "50", "100"]
    narrow = labels.get_ticks(math.log10(1.2), math.log10(1.9))
    assert len(set(labels.get_labels_for_ticks(narrow))) == len(narrow) >= 2


def test_over_shares_all_trainings_end_at_one_hundred() -> None:
    curves = CurvesState()
    curves.take_runs([listed("ilora", ILORA, 1), listed("lora", LORA, 2)], "made-up")
    curves.take_curves([{"run": ILORA, "points": learnt(ILORA)}, {"run": LORA, "points": learnt(LORA)[:4]}])
    curves.by_share = True
    assert [points[-1][0] for _, points in curves.lines()] == pytest.approx([100, 100])


def test_what_is_no_number_is_not_drawn() -> None:
    assert figures_of([{"step": 1, "loss": math.nan, "HR@1": 0.5}]) == {"HR@1": [(1, 0.5)]}


def test_signs_differ_without_colours_and_begin_anew_after_the_last() -> None:
    assert len({mark for mark, *_ in SIGNS}) == len(SIGNS)
    assert sign_of(len(SIGNS), True) == sign_of(0, True) != sign_of(0, False)


# --- the screen ------------------------------------------------------------------------------------------


async def test_runs_lie_over_each_other_and_each_can_be_left_out(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("5")
        await settle(pilot)
        screen = app.screen
        assert isinstance(screen, CurvesScreen)
        chart = screen.query_one(Chart)
        assert len(chart.lines) == 2
        shown = text_of(app)
        for piece in ("Runs · 2 of 2 drawn", "iLoRA · seed 0", "LoRA · seed 0", "validation HR@1", "[x]"):
            assert piece in shown, piece
        for sign, _ in chart.lines:
            assert sign_of(sign, True)[0] in "".join(line[40:] for line in shown.splitlines()[3:])
        await pilot.press("enter")
        await settle(pilot)
        assert len(chart.lines) == 1
        assert "1 of 2 drawn" in text_of(app)
        await pilot.press("A")
        await settle(pilot)
        assert len(chart.lines) == 2
        await pilot.click("#learners", offset=(4, 1))
        await settle(pilot)
        assert len(chart.lines) == 1


async def test_figure_scale_smoothing_and_axis_are_said_in_the_title(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("5", "m")
        await settle(pilot)
        assert "validation MRR over optimizer steps" in text_of(app)
        await pilot.press("m", "l", "o", "x")
        await settle(pilot)
        assert "training loss over percent of the training · log scale · smoothed 0.6" in text_of(app)


async def test_keys_and_the_wheel_zoom_and_new_points_leave_the_view_alone(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("5")
        await settle(pilot)
        screen = app.screen
        assert isinstance(screen, CurvesScreen)
        chart = screen.query_one(Chart)

        def view() -> tuple[float, ...]:
            return chart._x_min, chart._x_max, chart._y_min, chart._y_max

        whole = view()
        chart.focus()
        await pilot.press("plus")
        await settle(pilot)
        closer = view()
        assert closer[1] - closer[0] < whole[1] - whole[0]
        await pilot.press("right")
        await settle(pilot)
        assert view()[0] > closer[0]
        moved = view()
        chart.draw([*chart.lines, (5, [(1.0, 5.0), (500.0, 9.0)])], False)
        await settle(pilot)
        assert view() == moved
        await pilot.press("0")
        await settle(pilot)
        assert view()[1] >= 500
        await pilot._post_mouse_events([MouseScrollUp], "#chart", offset=(30, 8))
        await settle(pilot)
        assert chart.zoomed
        await pilot.press("minus", "minus", "left", "up", "down")
        await settle(pilot)
        assert text_of(app)


async def test_points_far_outside_a_zoomed_view_draw_nothing_wrong(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("5")
        await settle(pilot)
        app.screen.query_one(Chart).focus()
        await pilot.press(*["plus"] * 25, *["right"] * 5, *["up"] * 5)
        await settle(pilot)
        await pilot.press("l", *["plus"] * 10)
        await settle(pilot)
        assert "validation HR@1" in text_of(app)


async def test_what_is_drawn_can_be_copied_as_a_table(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("5")
        await settle(pilot)
        grid = app.screen.query_one(LearnerList).grid()
        assert grid.heads == ("run", "method", "seed", "step", "HR@1")
        assert len(grid.rows) == 16


async def test_curves_are_asked_for_once(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("5")
        await settle(pilot)
        await pilot.press("1", "5", "1", "5")
        await settle(pilot)
        assert len([ask for ask in app.app_state.main.asked if isinstance(ask, Curves)]) == 1


@pytest.mark.parametrize("theme", ["ilora-light", "ilora-contrast"])
async def test_another_theme_draws_the_same_curves(drive: Drive, theme: str) -> None:
    async with drive() as (app, pilot):
        await pilot.press("5")
        await settle(pilot)
        app.theme = theme
        await settle(pilot)
        assert len(app.screen.query_one(Chart).lines) == 2


async def test_a_training_at_work_is_drawn_among_the_runs(drive: Drive) -> None:
    async with drive() as (app, pilot):
        folder = app.app_state.out / "training"
        folder.mkdir(parents=True)
        log, errors = folder / "a.jsonl", folder / "a.err"
        said = [
            StepLogged("ilora", 1, "train", 4, 8, 1.5),
            Evaluated("ilora", 1, "validation", 9, {"HR@1": 0.25}, 4),
            Evaluated("ilora", 1, "validation", 9, {"HR@1": 0.5}, 8),
        ]
        log.write_text("".join(event.to_json() + "\n" for event in said))
        me = psutil.Process(os.getpid())
        training = TrainingProcess(
            me.pid, me.create_time(), ["python", "-m", "ilora_app", "bench"], str(log), str(errors)
        )
        Path(app.app_state.out / CARD).write_text(json.dumps(plain(training)))
        await pilot.press("5")
        await settle(pilot)
        screen = app.screen
        assert isinstance(screen, CurvesScreen)
        assert "iLoRA · seed 1 · now" in text_of(app)
        assert screen.curves.learners[0].figures["HR@1"] == [(4, 0.25), (8, 0.5)]
        assert len(screen.query_one(Chart).lines) == 3
