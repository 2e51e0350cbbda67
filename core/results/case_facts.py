"""What is known of each test case beyond its rank, kept beside the results so that tables can be cut by it.

One small file per set of cases (`cases/`), and one per gated result (`experts/`): a report is then rebuilt
from disk without fetching a dataset or loading a model.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from core.data.types import Catalogue, Dataset, Place, Samples
from core.errors import DataError, ResultError
from core.files import LARGEST_RESULT, atomic_write
from core.records import json_of, read_text

FORMAT = 1
AGAIN = "run the benchmark again: finished results are reused, this file is made anew"
"""Hint beside a damaged file of facts."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class CaseFacts:
    """What may make one case easier than another."""

    popularity: int
    """Interactions of the target in the training part."""
    history: int
    """Items in the history that methods read."""
    shared_title: bool
    """Whether another item of the catalogue has the target's title."""
    known_user: bool | None = None
    """Whether training knows the user; None in files of older versions."""


def facts_of(
    dataset: Dataset, samples: Samples, counts: npt.NDArray[np.floating], trained: Collection[str]
) -> dict[Place, CaseFacts]:
    """The facts of every test case.

    Args:
        dataset: for its catalogue's titles.
        samples: the cases.
        counts: (items,) training interactions of each item.
        trained: the users whom training knows.
    """
    shared = shared_titles(dataset.catalogue)
    return {
        place: CaseFacts(
            int(counts[case.target]), len(case.history), bool(shared[case.target]), case.user in trained
        )
        for place, case in samples.asked.items()
    }


def shared_titles(catalogue: Catalogue) -> npt.NDArray[np.bool_]:
    """(items,) whether an item's plain title belongs to others too, capitals or not."""
    plain = [title.casefold() for title in catalogue.plain_titles]
    counts = Counter(plain)
    return np.array([counts[title] > 1 for title in plain])


def facts_path(out: Path, dataset: str, split: str, samples_sha256: str) -> Path:
    """Where the facts of these cases lie below the output folder."""
    return out / "cases" / f"{dataset}.{split}.{samples_sha256[:12]}.json"


def save_facts(facts: Mapping[Place, CaseFacts], samples: Samples, out: Path) -> Path:
    """Writes the facts whole and returns their path."""
    record = {
        "format": FORMAT,
        "samples_sha256": samples.sha256,
        "columns": ["user", "position", "popularity", "history", "shared_title", "known_user"],
    }
    rows = [
        [*place, fact.popularity, fact.history, fact.shared_title, fact.known_user]
        for place, fact in facts.items()
    ]
    path = facts_path(out, samples.dataset, samples.split, samples.sha256)
    return atomic_write(path, _with_rows(record, rows))


def load_facts(out: Path, dataset: str, split: str, samples_sha256: str) -> dict[Place, CaseFacts] | None:
    """The facts of these cases; None where the folder holds none.

    Raises:
        ResultError: the file is damaged, or of other cases.
    """
    return facts_in(facts_path(out, dataset, split, samples_sha256), samples_sha256, _facts)


def _facts(record: Mapping[str, Any]) -> dict[Place, CaseFacts]:
    return {
        (str(user), int(position)): CaseFacts(_small(popularity), _small(history), bool(shared), *known)
        for user, position, popularity, history, shared, *known in record["rows"]
    }


def facts_in(path: Path, samples_sha256: str, made_of: Callable[[Mapping[str, Any]], Made]) -> Made | None:
    """What is made of a file of facts about these cases; None where there is no such file.

    Raises:
        ResultError: it is damaged, of another version, or of other cases.
    """
    record = read_facts(path)
    if record is None:
        return None
    if record.get("samples_sha256") != samples_sha256:
        raise ResultError(f"{path.name} is about other cases", AGAIN)
    try:
        return made_of(record)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ResultError(f"{path.name} is damaged: {reason}", AGAIN) from error


def holds_facts(out: Path, samples: Samples) -> bool:
    """Whether the folder knows all that this version says of these cases."""
    try:
        found = load_facts(out, samples.dataset, samples.split, samples.sha256)
    except ResultError:
        return False
    return found is not None and all(fact.known_user is not None for fact in found.values())


def _small(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**53:
        raise ValueError(f"{str(value)[:40]} is no count")
    return value


# --- the gate's weights ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExpertUse:
    """The gate's weights on the test cases of one result."""

    places: tuple[Place, ...]
    omega: npt.NDArray[np.float64]
    """(cases, K), rows sum to one."""


def experts_path(out: Path, result_file: Path) -> Path:
    """Where the gate's weights of a result lie below the output folder."""
    return out / "experts" / result_file.name


def save_experts(
    places: Sequence[Place], omega: npt.NDArray[np.floating], out: Path, result_file: Path
) -> Path:
    """Writes omega, (cases, K) or (cases, layers, K), whole, and returns the path.

    Gates in every layer are averaged over the layers; four digits are kept.
    """
    omega = omega.reshape(len(omega), -1, omega.shape[-1]).mean(axis=1)
    rows = [
        [*place, [round(float(weight), 4) for weight in weights]]
        for place, weights in zip(places, omega, strict=True)
    ]
    record = {"format": FORMAT, "columns": ["user", "position", "omega"]}
    return atomic_write(experts_path(out, result_file), _with_rows(record, rows))


def load_experts(out: Path, result_file: Path) -> ExpertUse | None:
    """The gate's weights of a result; None where the folder holds none.

    Raises:
        ResultError: the file is damaged.
    """
    path = experts_path(out, result_file)
    record = read_facts(path)
    if record is None:
        return None
    try:
        places = tuple((str(user), int(position)) for user, position, _ in record["rows"])
        omega = np.array([weights for *_, weights in record["rows"]], dtype=np.float64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ResultError(f"{path.name} is damaged: {error}", AGAIN) from error
    if omega.ndim != 2 or 0 in omega.shape or not np.isfinite(omega).all() or omega.min() < 0:
        raise ResultError(f"{path.name} is damaged: no weights", AGAIN)
    return ExpertUse(places, omega)


def read_facts(path: Path) -> dict[str, Any] | None:
    """The record in a file of facts; None where there is no such file.

    Raises:
        ResultError: it is damaged, or of another version.
    """
    if not path.exists():
        return None
    try:
        record = json_of(read_text(path, LARGEST_RESULT), path.name)
    except DataError as error:
        raise ResultError(f"{path.name} cannot be read: {error}", AGAIN) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ResultError(f"{path.name} was made by another version of this program", AGAIN)
    return record


def _with_rows(record: dict[str, Any], rows: Sequence[Any]) -> str:
    """JSON with one row a line."""
    head = json.dumps(record, ensure_ascii=False)[:-1]
    return f'{head}, "rows": [\n  {json_lines(rows)}\n]}}\n'


def json_lines(rows: Sequence[Any]) -> str:
    """The rows of a list as JSON, one a line."""
    return ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
