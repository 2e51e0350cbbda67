"""Reads pickled pandas tables without running anything: every name in a pickle stands for inert parts."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_LARGEST = 1 << 53  # whole numbers beyond are no ids, lengths or times
_MOST_ROWS = 1 << 24
_CELLS_PER_BYTE = 4  # a list that occurs many times takes a few bytes for each time
_HINT = "the file is cut off or damaged"


# --- what stands for numpy's and pandas' own classes -----------------------------------------------------


class _Refused(Exception):
    """The pickle holds something else than a table's parts."""


class _Kind:
    """A class that a pickle may name, but not call."""

    def __call__(self, *_: object) -> None:
        raise _Refused("it calls a class that only names a kind")


class _Dtype:
    """What `numpy.dtype` describes, as long as it is one plain kind of value."""

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or len(code) > 8:
            raise _Refused("a kind of values that is not plain")
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "biufOSU" or self.dtype.names or self.dtype.itemsize == 0:
            raise _Refused(f"values of the kind {code[:8]!r}")

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 8 or any(part is not None for part in state[2:5]):
            raise _Refused("a kind of values that is not plain")
        if state[1] in ("<", ">") and self.dtype.kind != "O":
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array: objects only from a list, all else only from bytes of the right number."""

    values: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _Refused("an array without content")
        self.values = _filled(state[4], state[2], state[1], "F" if state[3] else "C")


def _reconstruct(kind: object, shape: object, _: object) -> _Array:
    if kind is not _NDARRAY or shape != (0,):
        raise _Refused("an array that does not begin empty")
    return _Array()


def _from_buffer(content: object, kind: object, shape: object, order: object) -> _Array:
    made = _Array()
    made.values = _filled(bytes(content) if isinstance(content, bytearray) else content, kind, shape, order)
    return made


def _filled(content: object, kind: object, shape: object, order: object) -> np.ndarray[Any, Any]:
    if not isinstance(kind, _Dtype) or not isinstance(shape, tuple) or order not in ("C", "F"):
        raise _Refused("an array without kind or shape")
    if not all(type(length) is int and 0 <= length < _MOST_ROWS for length in shape):
        raise _Refused("an array of an impossible shape")
    if kind.dtype.kind == "O":
        if type(content) is not list or len(content) != math.prod(shape):
            raise _Refused("an array of objects that are not listed")
        flat = np.empty(len(content), object)
        for place, value in enumerate(content):
            flat[place] = value
        return flat.reshape(shape, order=order)
    if type(content) is not bytes or len(content) != math.prod(shape) * kind.dtype.itemsize:
        raise _Refused("an array whose bytes are too few or too many")
    return np.frombuffer(content, kind.dtype).reshape(shape, order=order)


class _Part:
    """A part of a table: what it was made from, and what it was told afterwards."""

    def __init__(self, *made_of: object) -> None:
        self.made_of = made_of

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Frame(_Part):
    """A table."""


class _Manager(_Part):
    """What a table keeps its columns in: blocks, and the names along both sides."""


class _Index(_Part):
    """The names along one side."""


class _Block(_Part):
    """Columns of one kind, and their places."""


class _Strings(_Part):
    """An array of texts."""


def _new_index(kind: object, parts: object) -> _Index:
    return _Index(kind, parts)


def _new_strings(kind: object, _: object, state: object) -> _Strings:
    made = _Strings(kind)
    if state is not None:
        made.state = state
    return made


_NDARRAY = _Kind()
_STANDS_FOR: dict[tuple[str, str], Any] = {
    ("builtins", "slice"): slice,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("pandas", "DataFrame"): _Frame,
    ("pandas", "Index"): _Index,
    ("pandas", "RangeIndex"): _Index,
    ("pandas", "StringDtype"): _Part,
    ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"): _new_strings,
    ("pandas._libs.internals", "_unpickle_block"): _Block,
    ("pandas.arrays", "StringArray"): _Strings,
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.indexes.base", "Index"): _Index,
    ("pandas.core.indexes.base", "_new_Index"): _new_index,
    ("pandas.core.indexes.range", "RangeIndex"): _Index,
    ("pandas.core.internals.managers", "BlockManager"): _Manager,
}
ALLOWED = frozenset(_STANDS_FOR)
"""Module and name of all that a table's pickle may name; none of it is numpy's or pandas' own code."""


class _Unpickler(pickle.Unpickler):
    """Gives the stand-ins, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return _STANDS_FOR[module, name]

    def persistent_load(self, pid: object) -> Any:
        raise pickle.UnpicklingError("it refers to something outside the file")


# --- reading ---------------------------------------------------------------------------------------------


def read_frame(content: bytes, file: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """The pandas table in a pickle, rebuilt from plain values.

    Args:
        content: the pickle.
        file: its name, for messages.
        columns: columns that it must have.

    Raises:
        DataError: it holds anything else than a table, is damaged, or lacks a column.
    """
    import pandas as pd

    try:
        _check_operations(content)
        found = _Unpickler(io.BytesIO(content)).load()
    except (pickle.UnpicklingError, _Refused) as error:
        raise DataError(f"{file}: refused: {_line(error)}", "only pickled pandas tables are read") from error
    except Exception as error:  # a damaged pickle can fail anywhere
        raise DataError(f"{file}: not a pickled table ({_line(error)})", _HINT) from error
    if type(found) is not _Frame:
        name = type(found).__name__.lstrip("_")
        raise DataError(f"{file}: holds {name}, not a pandas table", "only pickled pandas tables are read")
    try:
        known = _columns(found)
    except Exception as error:  # its parts do not fit together
        raise DataError(f"{file}: not a whole table ({_line(error)})", _HINT) from error
    missing = next((column for column in columns if column not in known), None)
    if missing is not None:
        raise DataError(f"{file}: no column '{missing}'", f"it has: {_names(known)}")
    values = {column: known[column] for column in columns}
    if not values or not all(len(column) for column in values.values()):
        raise DataError(f"{file} has no rows", "it was cut off, or is the wrong file")
    _check_cells(values, file, 1000 + _CELLS_PER_BYTE * len(content))
    return pd.DataFrame({column: pd.Series(cells, dtype=object) for column, cells in values.items()})


def _check_operations(content: bytes) -> None:
    """Refuses what would take memory or time beyond the size of the file.

    Raises:
        _Refused: a place in the memo that no honest pickle reaches.
    """
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= len(content):
            raise _Refused("a memo beyond the file's size")
        if operation.name in ("EXT1", "EXT2", "EXT4", "NEXT_BUFFER"):
            raise _Refused("it refers to something outside the file")


def _columns(frame: _Frame) -> dict[str, list[Any]]:
    """Name -> values of every column whose name is a text."""
    state: Any = frame.state
    manager = state["_mgr"] if "_mgr" in state else state["_data"]
    blocks, (names, rows) = manager.made_of
    labels, n_rows = _labels(names), _length(rows)
    columns: dict[str, list[Any]] = {}
    for block in blocks:
        values, placement = _cells(block.made_of[0]), block.made_of[1]
        if values.ndim == 1:
            values = values.reshape(1, -1)
        places = _places(placement, len(labels))
        if len(places) != len(values) or values.shape[1] != n_rows:
            raise _Refused("a block that does not fit its table")
        for place, row in zip(places, values, strict=True):
            if isinstance(labels[place], str):
                columns.setdefault(labels[place], row.tolist())
    return columns


def _cells(part: Any) -> np.ndarray[Any, Any]:
    """The array in an array, or in an array of texts."""
    if isinstance(part, _Strings):
        inside = [entry for entry in part.state if isinstance(entry, _Array)]  # type: ignore[attr-defined]
        return _cells(inside[0])
    if not isinstance(part, _Array) or part.values is None:
        raise _Refused("columns that are no arrays")
    return part.values


def _labels(index: _Index) -> list[Any]:
    parts: Any = index.made_of[1]
    return list(_cells(parts["data"]).tolist())


def _length(index: _Index) -> int:
    """Rows along an index; a range is checked, never written out."""
    parts: Any = index.made_of[1]
    if "data" in parts:
        return len(_cells(parts["data"]))
    ends = [parts[name] for name in ("start", "stop", "step")]
    if not all(type(end) is int and abs(end) < _LARGEST for end in ends):
        raise _Refused("an index that is no range")
    return len(range(*ends))


def _places(placement: Any, width: int) -> Sequence[int]:
    if isinstance(placement, slice):
        return range(width)[placement]
    places: list[int] = _cells(placement).tolist()
    if not all(type(place) is int and 0 <= place < width for place in places):
        raise _Refused("a column outside the table")
    return places


# --- cells -----------------------------------------------------------------------------------------------


def _check_cells(columns: dict[str, list[Any]], file: str, most: float) -> None:
    """Refuses what is no text, number or list of these, and lists that unfold to more than `most` cells."""
    for column, cells in columns.items():
        for row, cell in enumerate(cells, start=1):
            most -= _count(cell, depth=2)
            if most < 0:
                raise DataError(
                    f"{file}, row {row}: '{column}' is no plain text, number or list, or unfolds without end",
                    "only tables of these are read",
                )


def _count(cell: Any, depth: int) -> float:
    """Values in a cell that is a text, a number or nothing, or a list of these; infinity for all else."""
    if cell is None or type(cell) in (str, bool, float) or (type(cell) is int and abs(cell) < _LARGEST):
        return 1
    if type(cell) not in (list, tuple) or not depth:
        return math.inf
    return 1 + sum(_count(entry, depth - 1) for entry in cell)


def _names(known: dict[str, list[Any]]) -> str:
    return ", ".join(repr(column)[:40] for column in list(known)[:10])


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
