"""Plots are well-formed, hold what they are given inside their frame, and say it in words too."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilora_app.render import analysis_charts, charts
from ilora_app.render.charts import Dot, Mark, Panel, Series

INK = charts.colour("ilora")
LABELS = [('iLoRA <&">', INK), ("LoRA", charts.colour("lora"))]
STREAM = np.random.default_rng(0)
PANEL = Panel("HR@1\nn 12", (Mark(0.5, 0.4, 0.6, reported=0.7), Mark(None)))
MATRIX = np.array([[1.0, -0.25], [-0.25, math.nan]])

DRAWN = {
    "intervals": charts.intervals(LABELS, [PANEL, PANEL], "t", same=True),
    "one value": charts.intervals(LABELS[:1], [Panel("MRR", (Mark(0.0),))], "t"),
    "lines": charts.lines([Series("a", INK, ((0.0, 0.1), (10.0, 0.2)))], "x", "y", "t"),
    "log lines": charts.lines([Series("a", INK, ((0.0, 0.1), (10.0, 0.2)))], "x", "y", "t", log=True),
    "dots": charts.dots([Dot("a", INK, 97.0, 0.5, 0.4, 0.6), Dot("b", INK, None, 0.3)], "x", "y", "t"),
    "boxes": analysis_charts.boxes(
        [("Expert 1", STREAM.random(30)), ("Expert 2", np.zeros(3))], "w", "t", INK
    ),
    "heatmaps": analysis_charts.heatmaps([("LoRA", MATRIX), ("iLoRA", MATRIX)], "t"),
    "cloud": analysis_charts.cloud(STREAM.random(20), STREAM.normal(size=20), "x", "y", "t", INK),
    "flat cloud": analysis_charts.cloud(np.ones(3), np.zeros(3), "x", "y", "t", INK),
}


@pytest.mark.parametrize("name", DRAWN)
def test_every_plot_is_well_formed_and_stays_within_its_frame(name):
    root = ElementTree.fromstring(DRAWN[name])
    assert root.get("role") == "img" and root.get("aria-label") == "t"
    _, _, width, height = map(float, root.get("viewBox").split())
    for element in root.iter():
        for key, most in (
            ("x", width),
            ("cx", width),
            ("x1", width),
            ("x2", width),
            ("y", height),
            ("cy", height),
        ):
            if key in element.attrib:
                assert -1 <= float(element.get(key)) <= most + 1, (name, element.attrib)
    assert "nan" not in DRAWN[name]


def test_a_plot_by_itself_brings_its_styles():
    alone = charts.standalone(DRAWN["dots"])
    assert "prefers-color-scheme:dark" in alone
    ElementTree.fromstring(alone)


def test_figures_are_in_the_tooltips():
    assert ".500 [.40, .60]" in DRAWN["intervals"]
    assert ".700 reported by the paper" in DRAWN["intervals"]
    assert "after 1m 37s" in DRAWN["dots"]
    assert "clusters 1 and 2: -.25" in DRAWN["heatmaps"]


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.booleans())
def test_ticks_are_round_few_and_within(low, span, log):
    axis = (
        charts.Scale(abs(low) + 1e-3, abs(low) + 1e-3 + span, 0, 100, True)
        if log
        else charts.Scale(low, low + span, 0, 100)
    )
    ticks = axis.ticks()
    assert len(ticks) <= 14
    for tick in ticks:
        assert -1e-6 <= axis(tick) <= 100 + 1e-6
    assert ticks == sorted(ticks)


def test_every_method_has_a_colour_in_both_themes_and_keeps_it():
    sheet = charts.styles()
    for method in ("ilora", "lora", "somebody-else"):
        name = re.fullmatch(r"var\((--m-[a-z0-9-]+)\)", charts.colour(method))[1]
        assert sheet.count(f"{name}:") == 2
