"""Characters that draw: widths are exact, signs do not rest on colour."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from ilora_app.tui.drawing.bars import (
    bar,
    fit,
    interval_bar,
    movement,
    shade,
    shorten,
    signed,
    signed_bar,
    sparkline,
)
from ilora_app.tui.drawing.braille import Canvas


@pytest.mark.parametrize("text", ["", "Heat", "東京物語", "A title that is much too long to fit", "é́"])
@pytest.mark.parametrize("width", [0, 1, 2, 5, 12])
@pytest.mark.parametrize("right", [False, True])
def test_a_cell_is_exactly_as_wide_as_asked(text: str, width: int, right: bool) -> None:
    assert cell_len(fit(text, width, right)) == width


def test_what_is_cut_off_ends_in_an_ellipsis() -> None:
    assert fit("The Godfather", 8) == "The God…"
    assert fit("東京物語", 6).rstrip().endswith("…")


@pytest.mark.parametrize("value", [-1, 0, 0.01, 0.5, 0.999, 1, 3])
def test_bars_keep_their_width_and_their_order(value: float) -> None:
    assert len(bar(value, 10)) == 10
    assert len(signed_bar(value, 10)) == 10
    assert len(interval_bar(0.1, max(0.0, min(1.0, value)), 0.9, 30)) == 30


def test_a_bar_is_fine_to_an_eighth() -> None:
    assert len({bar(step / 80, 10) for step in range(81)}) == 81


def test_a_negative_bar_has_another_pattern() -> None:
    assert "▒" in signed_bar(-0.5, 8)
    assert "▒" not in signed_bar(0.5, 8)


def test_movement_says_up_down_new_and_nothing() -> None:
    assert movement(5, 2) == "▲3"
    assert movement(2, 3) == "▼1"
    assert movement(None, 1) == "new"
    assert movement(4, 4) == ""


def test_signed_numbers_are_short() -> None:
    assert signed(0.123) == "+.12"
    assert signed(-0.123) == "−.12"
    assert signed(0.001) == "·"


def test_a_sparkline_shows_the_newest_values() -> None:
    assert sparkline([0.0, 0.5, 1.0], 2) == "▅█"


def test_a_line_on_the_canvas_joins_its_ends() -> None:
    canvas = Canvas(4, 2)
    canvas.line(0, 0, 7, 7)
    assert canvas.row(0).strip()
    assert canvas.row(1).strip()
    assert canvas.row(0)[0] != " "
    assert canvas.row(1)[3] != " "


def test_darker_is_more() -> None:
    assert [shade(value) for value in (0, 0.3, 0.5, 0.7, 1)] == list(" ░▒▓█")
    assert shade(-1) == " "
    assert shade(2) == "█"


@pytest.mark.parametrize(
    ("width", "short"),
    [(40, "Action, Adventure · 1980s"), (24, "Action · 1980s"), (13, "Action"), (4, "Act…")],
)
def test_words_are_left_out_whole(width: int, short: str) -> None:
    assert shorten("Action, Adventure · 1980s", width) == short


@pytest.mark.parametrize("ticks", [[0.25, 0.5, 0.75], [2.995, 2.9975, 3.0], [1.0], [0.0, 5.0], []])
def test_labels_of_an_axis_are_their_ticks_and_differ(ticks: list[float]) -> None:
    from ilora_app.tui.widgets.curves import DistinctLabels

    labels = DistinctLabels().get_labels_for_ticks(ticks)
    assert [float(label) for label in labels] == pytest.approx(ticks)
    assert len(set(labels)) == len(ticks)
