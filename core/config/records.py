"""The door for what files say: TOML and JSON become frozen dataclasses of the right types, or an error."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from core.errors import DataError
from core.files import LARGEST_TEXT, read_regular

T = TypeVar("T")

_LIMIT = 1 << 53  # beyond it, numbers are neither sizes nor columns
_DEPTH = 64  # levels of lists and tables; no record of ours has more than six
_UNPRINTABLE = re.compile("[\ud800-\udfff]")  # halves of characters, which no file or screen can take
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def read_text(path: Path, most: int = LARGEST_TEXT) -> str:
    """The content of a text file of at most `most` bytes.

    Raises:
        DataError: it cannot be read, is too large or no regular file, or is no text.
    """
    try:
        return read_regular(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name}: cannot be read (it is not text)", "it must be UTF-8") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"{path.name}: cannot be read ({reason})", "check the path and its permissions"
        ) from error


def toml_of(text: str, name: str) -> dict[str, Any]:
    """The table that a TOML text holds; `name` is for messages.

    Raises:
        DataError: it is not TOML, or nested too deeply.
    """
    try:
        return tomllib.loads(text)
    except ValueError as error:  # also a number of thousands of digits
        raise DataError(f"{name}: it is not TOML: {error}", "strings go in quotes: name = value") from error
    except RecursionError as error:
        raise DataError(f"{name}: nested too deeply", "it is no file of this program") from error


def json_of(text: str | bytes, name: str) -> Any:
    """The value that a JSON text holds, without numbers that are none; `name` is for messages.

    Raises:
        DataError: it is not JSON, holds a number that is none, or is nested too deeply.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{name}: damaged, not JSON ({error})", "it was cut off, or changed by hand"
        ) from error
    _check_depth(value, name)
    return value


def _check_depth(value: object, name: str) -> None:
    """Refuses what later readers and writers, who recur, could not follow."""
    level = [value]
    for _ in range(_DEPTH):
        inner: list[object] = []
        for entry in level:
            if isinstance(entry, dict):
                inner += entry.values()
            elif isinstance(entry, list):
                inner += entry
        if not inner:
            return
        level = [entry for entry in inner if isinstance(entry, dict | list)]
    if level:
        raise DataError(f"{name}: nested too deeply", "it is no file of this program")


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _finite(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise ValueError(f"{digits[:30]} is too large")
    return value


def is_text(value: object) -> bool:
    """Whether a value is text that can be written to a file."""
    return isinstance(value, str) and _UNPRINTABLE.search(value) is None


def build(cls: type[T], table: object, where: str = "") -> T:
    """`cls` filled from a TOML table, tables inside it likewise.

    Args:
        cls: a dataclass of text, numbers, booleans, dataclasses, and tuples, lists or dicts of these.
        table: what the parser returned.
        where: the dotted name of the table, for messages.

    Raises:
        DataError: a key is unknown or missing, or a value has the wrong type or breaks a field's check.
    """
    if not isinstance(table, Mapping):
        raise DataError(f"{where or 'the card'} must be a table", f"write it as [{where}]")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            raise DataError(
                f"unknown key '{_dotted(where, key)}'", f"known here: {', '.join(sorted(fields))}"
            )
    for name, field in fields.items():
        if name not in table and _required(field):
            raise DataError(f"missing key '{_dotted(where, name)}'", f"add {name} = … to the card")
    hints = typing.get_type_hints(cls)
    return cls(**{key: _value(hints[key], value, _dotted(where, key)) for key, value in table.items()})


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(kind: Any, value: object, where: str) -> Any:
    """`value` as `kind`; numbers may be written without a decimal point, nothing else is converted."""
    if isinstance(kind, types.UnionType):
        return _union(kind, value, where)
    if typing.get_origin(kind) is tuple:
        return _tuple(kind, value, where)
    if typing.get_origin(kind) is list:
        return list(_tuple(kind, value, where))
    if typing.get_origin(kind) is dict:
        return _dict(kind, value, where)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return build(kind, value, where)
    if kind is float and type(value) is int and abs(value) < _LIMIT:
        return float(value)
    outside = (type(value) is int and abs(value) >= _LIMIT) or (type(value) is str and not is_text(value))
    if type(value) is not kind or outside:
        raise DataError(f"'{where}' must be {_NAMES.get(kind, kind)}", f"it is {shown(value)}")
    return value


def _union(kind: types.UnionType, value: object, where: str) -> Any:
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    if value is None and type(None) in typing.get_args(kind):
        return None
    for option in options:
        if type(value) is option or (isinstance(value, list) and typing.get_origin(option) in (tuple, list)):
            return _value(option, value, where)
    return _value(options[0], value, where)


def _tuple(kind: Any, value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise DataError(f"'{where}' must be a list", f"it is {shown(value)}")
    inner = typing.get_args(kind)[0]
    return tuple(_value(inner, entry, f"{where}[{index}]") for index, entry in enumerate(value))


def _dict(kind: Any, value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"'{where}' must be a table", f"it is {shown(value)}")
    inner = typing.get_args(kind)[1]
    return {
        _value(str, key, where): _value(inner, entry, _dotted(where, str(key)))
        for key, entry in value.items()
    }


def _dotted(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def shown(value: object) -> str:
    """A value for a message, whatever it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits or levels than Python is willing to print
        return f"an overlong {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
