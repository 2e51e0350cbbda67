"""Columns of ids as codes, and cells of tables as texts: the same id whatever a program wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from core.data.reading.lines import CONTROL, broken, plain_ids, short

if TYPE_CHECKING:
    import pandas as pd

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Coded:
    """A column of ids: the different ones, and for every line which of them it has."""

    ids: tuple[str, ...]
    codes: Ints  # (lines,)


def code(values: Sequence[str]) -> Coded:
    """Ids as codes, in the order of their first appearance."""
    places: dict[str, int] = {}
    codes = [places.setdefault(value, len(places)) for value in values]
    return Coded(tuple(places), np.array(codes, np.int64))


def plain_codes(column: Coded) -> Coded:
    """Ids such as 9.0 as 9."""
    ids = plain_ids(column.ids)
    if ids is column.ids:
        return column
    merged = code(ids)
    return Coded(merged.ids, merged.codes[column.codes])


def code_column(column: pd.Series[Any], what: str, file: str, rows: Ints) -> Coded:
    """A column of ids as codes; whole numbers are written without a fraction.

    Args:
        column: ids as texts, bytes or numbers.
        what: what they are, for messages.
        file: where they are, for messages.
        rows: (rows,) their numbers, for messages.

    Raises:
        DataError: an id is missing, empty or not printable; names the file and the row.
    """
    import pandas as pd

    try:
        codes, values = pd.factorize(column)
    except TypeError as error:  # lists and tables have no codes
        raise broken(file, int(rows[0]), f"{what} is neither a text nor a number", "row") from error
    ids = [cell_text(value) for value in values]
    wrong = [not text or CONTROL.search(text) is not None for text in ids]
    bad = codes < 0 if not any(wrong) else (codes < 0) | np.array(wrong)[codes]
    if bad.any():
        row = int(np.argmax(bad))
        value = "" if codes[row] < 0 else ids[codes[row]]
        problem = f"{what} {short(value)} has control characters" if value else f"no {what}"
        raise broken(file, int(rows[row]), problem, "row", "id")
    merged = code(ids)  # 1 and "1" are the same id
    return Coded(merged.ids, merged.codes[codes.astype(np.int64)])


def cell_text(value: object) -> str:
    """A cell of a table as text: whole numbers without a fraction, bytes as UTF-8; of a list nothing."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace").strip()
    if value is None or isinstance(value, (np.ndarray, list, dict)) or value != value:
        return ""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()
