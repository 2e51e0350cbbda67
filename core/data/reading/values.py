"""Turns columns of Arrow into ids, numbers and times by the rules of the reader that goes line by line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from core.data import times
from core.data.reading.bulk import Unclear
from core.data.reading.codes import Coded, Ints, code
from core.data.reading.lines import CONTROL, number, plain_text
from core.data.reading.pieces import Floats

_LONGEST = 1000  # letters of an id
_PLAIN = r"^[0-9]{1,15}(\.[0-9]{1,15})?$"
_WHOLE = r"^[0-9]{1,18}$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3}([0-9]{3})?)?( UTC|Z|\+00:00)?$"
_EXACT = 1e15  # below it a whole number is the same as a fraction


def ids(column: Any) -> Coded:
    """A column of texts or whole numbers as codes.

    Args:
        column: an array of Arrow, as a dictionary or not; without missing values.

    Raises:
        Unclear: an id is empty, long, or has control characters.
    """
    coded = column if str(column.type).startswith("dictionary") else column.dictionary_encode()
    texts = [plain_text(str(value)) for value in coded.dictionary.to_pylist()]
    if "" in texts or CONTROL.search("".join(texts)) or max(map(len, texts), default=0) > _LONGEST:
        raise Unclear("an odd id")
    merged = code(texts)
    return Coded(merged.ids, merged.codes[coded.indices.to_numpy().astype(np.int64)])


def numbers(column: Any) -> Floats:
    """A column of texts or numbers as finite numbers; 3,5 is 3.5.

    Raises:
        Unclear: something is not a number.
    """
    import pyarrow as pa

    if pa.types.is_string(column.type):
        return _numbers_of_texts(column)
    found = column.to_numpy(zero_copy_only=False).astype(np.float64)
    if not np.isfinite(found).all():
        raise Unclear("no finite number")
    return np.asarray(found)


def _numbers_of_texts(column: Any) -> Floats:
    import pyarrow as pa
    import pyarrow.compute as pc

    if _all_match(column, _PLAIN):
        return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False))
    return np.asarray(_each(column, number, np.float64))


def moments(column: Any, form: str) -> Ints:
    """A column of texts or numbers as whole seconds since 1970.

    Args:
        column: an array of Arrow, without missing values.
        form: how they are written (`times.FORMS`, or a pattern).

    Raises:
        Unclear: something is not of the form.
    """
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        return _of_fractions(column, form)
    if pa.types.is_integer(column.type):
        return _of_whole(column.to_numpy(zero_copy_only=False).astype(np.int64), form)
    return _of_texts(column, form)


def _of_fractions(column: Any, form: str) -> Ints:
    found = column.to_numpy(zero_copy_only=False)
    if form not in times.UNITS or form == "seconds" or not ((found >= 0) & (found < _EXACT)).all():
        raise Unclear("an odd time")
    return np.asarray((found / times.UNITS[form]).astype(np.int64))


def _of_whole(found: Ints, form: str) -> Ints:
    if form not in times.UNITS or (len(found) and found.min() < 0):
        raise Unclear("an odd time")
    seconds = found // times.UNITS[form]
    if len(seconds) and seconds.max() >= times.LATEST:
        raise Unclear("no time")
    return np.asarray(seconds)


def _of_texts(column: Any, form: str) -> Ints:
    import pyarrow as pa
    import pyarrow.compute as pc

    if form in times.UNITS and _all_match(column, _WHOLE):
        return _of_whole(pc.cast(column, pa.int64()).to_numpy(zero_copy_only=False).astype(np.int64), form)
    if form in times.UNITS and form != "seconds" and _all_match(column, _PLAIN):
        return _of_fractions(pc.cast(column, pa.float64()), form)
    if form == "date" and _all_match(column, _DATE):
        try:
            found = pc.cast(pc.utf8_slice_codeunits(column, 0, 19), pa.timestamp("s"))
        except pa.ArrowInvalid:  # such as the 30th of February
            raise Unclear("no date") from None
        seconds = pc.cast(found, pa.int64()).to_numpy(zero_copy_only=False)
        if len(seconds) and seconds.min() < 0:
            raise Unclear("a time before 1970")
        return np.asarray(seconds)
    return np.asarray(_each(column, times.reader(form), np.int64))


def _all_match(column: Any, pattern: str) -> bool:
    import pyarrow.compute as pc

    return pc.all(pc.match_substring_regex(column, pattern)).as_py() is True


def _each(column: Any, read: Callable[[str], Any], kind: Any) -> Any:
    """Every different text, read once."""
    coded = column.dictionary_encode()
    found = [read(plain_text(text)) for text in coded.dictionary.to_pylist()]
    if None in found:
        raise Unclear("something is not of the form")
    return np.array(found, kind)[coded.indices.to_numpy()]
