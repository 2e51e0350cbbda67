"""Figures are short, honest about their unit, and never silently empty."""

from __future__ import annotations

import math

import pytest

from ilora_app.render import figures


@pytest.mark.parametrize(
    ("value", "text"), [(0.4541, ".454"), (0.0, ".000"), (1.0, "1.000"), (None, "–"), (math.nan, "–")]
)
def test_shares(value, text):
    assert figures.share(value) == text


def test_intervals():
    assert figures.interval(0.4, 0.514) == "[.40, .51]"
    assert figures.interval(0.0, 1.0) == "[.00, 1.00]"
    assert figures.interval(None, None) == figures.interval(math.nan, math.nan) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (256, "256"), (120_000, "120k"), (999_999, "1.00M"), (2_442_240, "2.44M"), (6.7e9, "6.70B")],
)
def test_counts(value, text):
    assert figures.count(int(value)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1m 00s"), (421.4, "7m 01s"), (7_500, "2h 05m")],
)
def test_durations(seconds, text):
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.31, "0.31"), (1.9, "1.90"), (99.97, "100"), (110.3, "110"), (2210, "2.2k")],
)
def test_rates(value, text):
    assert figures.rate(value) == text


@pytest.mark.parametrize(("bytes_", "text"), [(12, "12 B"), (4_924_029, "4.92 MB"), (2.1e9, "2.10 GB")])
def test_sizes(bytes_, text):
    assert figures.size(bytes_) == text


@pytest.mark.parametrize(
    ("p", "text"), [(0.0001, "p < .001"), (0.004, "p = .004"), (0.21, "p = .21"), (1.0, "p = 1.00")]
)
def test_p_values(p, text):
    assert figures.p_value(p) == text


def test_words():
    assert figures.plural(1, "case") == "1 case"
    assert figures.plural(1_194, "user") == "1,194 users"
    assert figures.method_name("ilora (nf4)") == "iLoRA (nf4)"
    assert figures.method_name("unheard-of") == "unheard-of"
