"""What each tab shows, in one line, and what every sign on it means. No widgets here."""

from __future__ import annotations

GUIDES = {
    "explore": "who · what they watched · which experts that wakes · what is recommended next",
    "compare": "test cases of all users · how one run ranks a case · how another one does",
    "train": "what to train and what it costs · how far it is · how it learns",
    "results": "every method on the same cases, the best first, each with its 95 % interval",
    "curves": "how runs learnt, laid over each other: on validation cases, or by their loss",
}
"""Tab -> what is seen there, from left to right or from the top down."""

EVERYWHERE = (
    ("›", "the row under the cursor"),
    ("…", "cut short"),
    ("·", "between two facts"),
    ("●", "in the top line: ready"),
    ("◌", "in the top line: busy, for so many seconds"),
    ("○", "in the top line: something is not fetched yet"),
    ("✕", "in the top line: it did not work"),
    ("−", "minus"),
    ("–", "no figure"),
)
SIGNS: dict[str, tuple[tuple[str, str], ...]] = {
    "explore": (
        ("◎", "what the user really chose next"),
        ("▲ ▼", "moved up or down by so many places since your edit"),
        ("●", "before a user: a test user"),
        ("◐", "before a user: a validation user"),
        ("·", "before a user: a training user; beside a weight: no change"),
        ("+", "an item that you added"),
        (
            "█",
            "a bar: how one-sided the gate, a weight, a score; for an item: raises the chance",
        ),
        ("▒", "for an item: lowers the chance; in the map of layers: a middling weight"),
        ("░ ▒ ▓", "the map of layers, lowest layer first: the darker, the more weight"),
        ("╵", "where the gate itself would put a weight that you pushed"),
        ("━ ┄", "in a replay: the opened run's mean rank, and the encoder's"),
        ("→", "from the lowest layer to the highest"),
    ),
    "compare": (
        ("◎", "what the user really chose next"),
        ("▲ ▼", "the left run puts it higher, or lower, by so many places"),
        ("=", "both runs put it at the same place"),
        ("τ", "how alike the two orders are: 1 the same, 0 nothing in common, −1 reversed"),
        ("3/5 alike", "of the best five on each side, three are the same"),
        ("⠤", "a line joins an item's two places"),
        ("█", "a bar: how large the difference is"),
    ),
    "train": (
        ("[x]", "a method that takes part"),
        ("‹ ›", "more to choose from with ← and →"),
        ("✎", "a value of your own can be typed: e"),
        ("▶ ‖", "running, or paused"),
        ("█", "how far it is"),
    ),
    "results": (
        ("★", "the highest HR@1: how often what was chosen next is put first"),
        ("≈", "not to be told apart from the best"),
        ("¶", "reported by the paper, under another protocol"),
        ("├●┤", "HR@1 and its 95 % interval between 0 and 1"),
        ("½", "the middle of that scale"),
    ),
    "curves": (
        ("[x]", "a run whose curve is drawn"),
        ("● ■ ▲ ◆", "a run's own mark, the same in the list and on its curve"),
        ("○ □ △ ◇ ★ ✚", "marks of further runs; after ten they begin anew"),
        ("now", "a run that is being trained"),
    ),
}
"""Tab -> each sign drawn there, and what it means."""


def signs_of(tab: str) -> tuple[tuple[str, str], ...]:
    """Every sign of a tab with its meaning, its own signs first."""
    return (*SIGNS.get(tab, ()), *EVERYWHERE)
