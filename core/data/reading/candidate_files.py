"""Reads test cases from files of several layouts: this program's, S-DPO's, and LLaRA's published windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.data.audit import Asked
from core.data.reading.json_lines import json_objects
from core.data.reading.pickles import read_frame
from core.errors import DataError, InputError
from core.files import read_regular
from core.kinds import is_text

LARGEST = 1 << 30
TARGET, HISTORY = ("target", "trueSelection"), ("history", "historyList")
OFFERED = ("candidates", "itemList")
_HINT = "a case has a history, a target and candidates: see `ilora-app data NAME --samples test --out FILE`"


def read_cases(path: Path) -> list[Asked]:
    """The cases of a file: JSON, one object a line or one list, or a pickled table of windows.

    Items are named by their id or title, as the file does. S-DPO joins a history with `::`. A table of
    windows (`seq`, `len_seq`, `next`) has no candidates.

    Raises:
        InputError: it cannot be read.
        DataError: it is of no such layout, or a case lacks its target; names the line.
    """
    try:
        content = read_regular(path, LARGEST)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read: {reason}", _HINT) from error
    if content[:1] == b"\x80":
        return _windows(content, path.name)

    def fail(line: int, problem: str, about: str = "") -> DataError:
        del about
        return DataError(f"{path.name}, line {line}: {problem}", _HINT)

    cases = []
    for line, record in json_objects(content, fail):
        target, history, offered = (_first(record, keys) for keys in (TARGET, HISTORY, OFFERED))
        if target is None or history is None or not isinstance(offered, list):
            lacking = "target" if target is None else "history" if history is None else "list of candidates"
            raise fail(line, f"a case without a {lacking}")
        met = history.split("::") if isinstance(history, str) else history
        if not isinstance(met, list):
            raise fail(line, "a history that is no list")
        items = [_named(item) for item in (target, *met, *offered)]
        if any(item is None for item in items):
            raise fail(line, "an item that is neither a text, nor a number, nor has an id")
        names = [str(item) for item in items]
        user = _named(record.get("user", "")) or ""
        cases.append(Asked(user, tuple(names[1 : 1 + len(met)]), names[0], tuple(names[1 + len(met) :])))
    return cases


def _first(record: dict[str, Any], keys: Sequence[str]) -> Any:
    """The value of the first of these keys that a record has; None for none."""
    return next((record[key] for key in keys if key in record), None)


def _named(item: Any) -> str | None:
    """An item's name: its id where it has one."""
    if isinstance(item, dict):
        item = item.get("id", item.get("title"))
    is_number = isinstance(item, int) and not isinstance(item, bool)
    return str(item) if is_number or is_text(item) else None


def _windows(content: bytes, file: str) -> list[Asked]:
    frame = read_frame(content, file, ("seq", "len_seq", "next"))
    cases = []
    for row, (seq, length, target) in enumerate(frame.itertuples(index=False), start=1):
        if not isinstance(seq, list | tuple) or not isinstance(length, int):
            raise DataError(f"{file}, row {row}: not a window and its length", _HINT)
        names = [str(item[0] if isinstance(item, list | tuple) and item else item) for item in (*seq, target)]
        cases.append(Asked("", tuple(names[: max(0, min(length, len(seq)))]), names[-1], ()))
    return cases
