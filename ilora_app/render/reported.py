"""Which published row stands beside which of ours, and where to say so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from core.methods import record_of


class ReportedRow(Protocol):
    """A published figure, as a dataset card holds it."""

    @property
    def method(self) -> str:
        """The method's name as published."""

    @property
    def valid_ratio(self) -> float | None:
        """Share of generated answers that are a candidate."""

    @property
    def hit_ratio_at_1(self) -> float:
        """HitRatio@1."""

    @property
    def source(self) -> str:
        """Where it was published."""


def reported_for(method: str, reported: Sequence[ReportedRow]) -> ReportedRow | None:
    """The published row of one of our methods; None where nothing was published."""
    name = record_of(method).reported
    return next((row for row in reported if row.method.casefold() == name.casefold()), None)


def unmatched(methods: Iterable[str], reported: Sequence[ReportedRow]) -> list[ReportedRow]:
    """Published rows that stand beside none of these methods."""
    shown = [reported_for(method, reported) for method in methods]
    return [row for row in reported if row not in shown]
