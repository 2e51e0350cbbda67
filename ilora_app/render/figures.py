"""How figures are written, the same in every table: shares, counts, durations, sizes, p-values."""

from __future__ import annotations

import math

from core.methods import record_of

NONE = "–"
"""Stands where a method has no such figure."""

_STAGES = {
    "fetch": "fetching the model",
    "convert": "converting the model",
    "load": "loading",
    "read": "reading titles",
    "train": "training",
    "validate": "validating",
    "test": "testing",
    "gates": "asking the gate",
    "recommend": "users",
    "measure": "measuring what is recommended",
    "export": "writing adapters",
    "histories": "reading histories",
    "clusters": "clustering gates",
    "teach": "asking the teacher",
    "compare": "comparing with the teacher",
    "ray": "starting Ray",
    "workers": "opening the run in Ray's workers",
}
_TIMED = ("fetch", "convert", "load", "clusters", "ray", "workers")
"""Stages whose steps are seconds."""


def stage_name(stage: str) -> str:
    """What is done in a stage."""
    return _STAGES.get(stage, stage)


def stage_steps(stage: str, step: int, total: int) -> str:
    """How far a stage is: 12/48, or 3 s of about 8 s where nothing can be counted (12 s, 8 s expected)."""
    if stage in _TIMED and 0 < total < step:
        return f"{step} s, {total} s expected"
    if stage in _TIMED:
        return f"{step} s" + (f" of about {total} s" if total else "")
    return f"{step}/{total}" if total else str(step or "")


def method_name(label: str) -> str:
    """A method's name as the field writes it; whatever follows the first word is kept."""
    key, space, rest = label.partition(" ")
    return record_of(key).label + space + rest


def share(value: float | None, digits: int = 3) -> str:
    """A number between 0 and 1 without its leading zero: .454."""
    if value is None or math.isnan(value):
        return NONE
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def interval(low: float | None, high: float | None) -> str:
    """Both ends of an interval of shares: [.40, .51]; nothing where there is none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"[{share(low, 2)}, {share(high, 2)}]"


def signed_percent(ratio: float) -> str:
    """A ratio as a signed percentage: +8.6 %."""
    return f"{100 * ratio:+.1f} %".replace("-", "−")


def points(difference: float) -> str:
    """A difference in hundredths, for columns that name the unit (points, %): +2.5."""
    return NONE if math.isnan(difference) else f"{100 * difference:+.1f}"


def ends(low: float, high: float) -> str:
    """Both ends of an interval of differences, in hundredths: [-2.6, +12.6]; nothing where there is none."""
    return "" if math.isnan(low) or math.isnan(high) else f"[{points(low)}, {points(high)}]"


def count(value: int) -> str:
    """A number of things in three digits: 2.44M."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{_three_digits(value / size)}{unit}"
    return str(value)


def rate(value: float | None) -> str:
    """Things per second, or milliseconds, in about three digits: 1.90, 104, 2.2k."""
    if value is None:
        return NONE
    return f"{value / 1000:.1f}k" if value >= 999.5 else _three_digits(value)


def duration(seconds: float | None) -> str:
    """Time a person waits: 0.4 s, 42 s, 7m 01s, 2h 05m."""
    if seconds is None:
        return NONE
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def size(size_in_bytes: float) -> str:
    """Memory or file size in powers of ten: 2.10 GB; always three digits, unlike rich's formatter."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_in_bytes >= 0.9995 * unit:
            return f"{_three_digits(size_in_bytes / unit)} {name}"
    return f"{size_in_bytes:.0f} B"


def p_value(p: float) -> str:
    """A p-value: p = .21, or p < .001."""
    return "p < .001" if p < 0.001 else f"p = {share(p, 3 if p < 0.01 else 2)}"


def plural(number: int, noun: str) -> str:
    """A number with its noun: 1 case, 280 cases."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
