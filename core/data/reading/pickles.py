"""Reads pickled pandas tables without running what else a pickle can hold: only names of data are let in."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

from core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

ALLOWED = frozenset(
    {
        ("builtins", "slice"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core.numeric", "_frombuffer"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.numeric", "_frombuffer"),
        ("pandas", "DataFrame"),
        ("pandas", "Index"),
        ("pandas", "RangeIndex"),
        ("pandas", "StringDtype"),
        ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"),
        ("pandas._libs.internals", "_unpickle_block"),
        ("pandas.arrays", "StringArray"),
        ("pandas.core.frame", "DataFrame"),
        ("pandas.core.indexes.base", "Index"),
        ("pandas.core.indexes.base", "_new_Index"),
        ("pandas.core.indexes.range", "RangeIndex"),
        ("pandas.core.internals.managers", "BlockManager"),
    }
)
"""Module and name of all that a table's pickle may call: constructors of arrays, indexes and tables."""


class _Unpickler(pickle.Unpickler):
    """Looks up the allowed names and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_frame(content: bytes, file: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """The pandas table in a pickle.

    Args:
        content: the pickle; its checksum has been compared before.
        file: its name, for messages.
        columns: columns that it must have.

    Raises:
        DataError: it holds anything else than a table, is damaged, or lacks a column.
    """
    import pandas as pd

    try:
        frame = _Unpickler(io.BytesIO(content)).load()
    except pickle.UnpicklingError as error:
        raise DataError(f"{file}: refused: {_line(error)}", "only pickled pandas tables are read") from error
    except Exception as error:  # a damaged pickle can fail in any of the constructors
        raise DataError(
            f"{file}: not a pickled table ({_line(error)})", "the file is cut off or damaged"
        ) from error
    if type(frame) is not pd.DataFrame:
        raise DataError(
            f"{file}: holds {type(frame).__name__}, not a pandas table", "only pickled pandas tables are read"
        )
    return _checked(frame, file, columns)


def _checked(frame: pd.DataFrame, file: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """A table whose parts fit together: a pickle can also describe one that was never made by pandas."""
    try:
        found = [column for column in columns if column in frame.columns]
        lists = {column: list(frame[column]) for column in found}
    except Exception as error:
        raise DataError(
            f"{file}: not a whole table ({_line(error)})", "the file is cut off or damaged"
        ) from error
    if len(found) < len(columns):
        missing = next(column for column in columns if column not in found)
        raise DataError(f"{file}: no column '{missing}'", f"it has: {_names(frame)}")
    if not len(frame):
        raise DataError(f"{file} has no rows", "it was cut off, or is the wrong file")
    import pandas as pd

    return pd.DataFrame({column: pd.Series(values, dtype=object) for column, values in lists.items()})


def _names(frame: pd.DataFrame) -> str:
    return ", ".join(str(column) for column in list(frame.columns)[:10])


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
