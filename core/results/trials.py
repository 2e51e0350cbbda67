"""The trials of a search for settings, kept beside the results and shown with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from core.errors import DataError, ResultError
from core.files import atomic_write
from core.kinds import Amount, Checksum, Count, Name, Positive, Rule, Share
from core.records import Misfit, build, json_of, plain, read_text, upgraded

FOLDER = "tuning"
"""Below the output folder."""
ENDED, PRUNED, FAILED = "ended", "pruned", "failed"
STATES = {
    ENDED: "trained to its end",
    PRUNED: "stopped early: worse than half of the trials before it at the same step",
    FAILED: "its training could not go on",
}
State = Annotated[str, Rule(f"one of {', '.join(STATES)}", lambda value: value in STATES)]


@dataclass(frozen=True)
class Trial:
    """One setting that was trained."""

    settings: Mapping[str, float]
    """Place in the config -> the value tried."""
    state: State
    mrr: Share | None
    """The best validation MRR of its training; None where it failed before the first."""
    seconds: Amount
    """What it took in all."""


@dataclass(frozen=True)
class Search:
    """All trials of a method, in the order in which they were made."""

    dataset: Name
    split: Name
    method: Name
    seed: Count
    """Training seed of every trial; it also seeds the search."""
    cases: Positive
    """Validation cases."""
    key: Checksum
    """Of all settings that are not searched, of the ranges and of the data."""
    trials: tuple[Trial, ...]

    @property
    def best(self) -> int | None:
        """Index of the trial that validation prefers, the first of equals; None where none ended."""
        worth = {place: trial.mrr for place, trial in enumerate(self.trials) if trial.state == ENDED}
        known = {place: mrr for place, mrr in worth.items() if mrr is not None}
        return max(known, key=lambda place: (known[place], -place)) if known else None

    @property
    def name(self) -> str:
        """What its files are called, without a suffix."""
        return f"{self.dataset}.{self.split}.{self.method}.seed{self.seed}.{self.key[:8]}"


FORMAT = 1


def search_path(out: Path, search: Search) -> Path:
    """Where a search lies below the output folder."""
    return out / FOLDER / f"{search.name}.json"


def save_search(search: Search, out: Path) -> Path:
    """Writes a search whole and returns its path."""
    record = {"format": FORMAT} | plain(search)
    trials = ",\n  ".join(json.dumps(trial, allow_nan=False) for trial in record.pop("trials"))
    head = json.dumps(record, ensure_ascii=False, allow_nan=False)[:-1]
    return atomic_write(search_path(out, search), f'{head}, "trials": [\n  {trials}\n]}}\n')


def load_search(path: Path) -> Search:
    """The search in a file.

    Raises:
        ResultError: it is damaged, or of a newer version.
    """
    hint = "remove it; the same `ilora-app bench --tune N` writes it again"
    try:
        record = json_of(read_text(path), path.name)
        if not isinstance(record, dict):
            raise DataError("it is no record")
        return build(Search, upgraded(record))
    except Misfit as error:
        raise ResultError(f"{path.name}: {error.said}", hint) from error
    except DataError as error:
        raise ResultError(f"{path.name}: {error.title}", hint) from error


def load_searches(folders: Sequence[Path]) -> tuple[list[Search], list[str]]:
    """The searches of several output folders by name, and one line for each file that was left out."""
    found: dict[str, Search] = {}
    problems = []
    for folder in folders:
        for path in sorted((folder / FOLDER).glob("[!.]*.json")):
            try:
                search = load_search(path)
            except ResultError as error:
                problems.append(f"{error.title} – {error.hint}")
                continue
            found.setdefault(search.name, search)
    return [found[name] for name in sorted(found)], problems
