"""Settings of a student: whose rankings it learns, of how many histories and candidates, and how softly."""

from __future__ import annotations

from dataclasses import dataclass

from core.config.bounds import bounded, check_bounds


@dataclass(frozen=True)
class DistillationConfig:
    """What a small encoder learns from a trained run."""

    teacher: str = ""
    """The name of the run that teaches; empty for every method that learns from the data."""
    weights: str = ""
    """The beginning of a checksum of that run's files."""
    histories: int = bounded(2000, 1, 10**9, "the number of histories")
    """Histories of training users, prefixes too, that the teacher ranks candidates for; no label is read."""
    candidates: int = bounded(40, 2, 1000, "the number of candidates")
    """Candidates for each history, none of which its user had before."""
    drawn: float = bounded(0.5, 0, 1, "the share of drawn candidates")
    """The share of them that is drawn; the others are the best of the teacher's encoder."""
    temperature: float = bounded(1.0, 0, 1000, "the temperature", open=True)
    """What both sides' scores are divided by: above 1, places far from the first count for more."""
    learning_rate: float = bounded(1e-4, 0, 10, "the student's learning rate", open=True)
    """AdamW's peak rate: a tenth of the encoder's, for the student begins with what that has learnt."""

    def __post_init__(self) -> None:
        check_bounds(self)
