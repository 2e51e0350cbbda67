"""Builds frozen dataclasses from TOML tables, refusing unknown keys, missing keys and wrong types."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from core.errors import DataError

T = TypeVar("T")

_LIMIT = 1 << 53  # beyond it, numbers are neither sizes nor columns
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def build(cls: type[T], table: object, where: str = "") -> T:
    """`cls` filled from a TOML table, tables inside it likewise.

    Args:
        cls: a dataclass of strings, numbers, booleans, dataclasses, tuples and optionals of these.
        table: what the TOML parser returned.
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
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return build(kind, value, where)
    if kind is float and type(value) is int and abs(value) < _LIMIT:
        return float(value)
    if type(value) is not kind or (type(value) is int and abs(value) >= _LIMIT):
        raise DataError(f"'{where}' must be {_NAMES.get(kind, kind)}", f"it is {_shown(value)}")
    return value


def _union(kind: types.UnionType, value: object, where: str) -> Any:
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    for option in options:
        if type(value) is option or (isinstance(value, list) and typing.get_origin(option) is tuple):
            return _value(option, value, where)
    return _value(options[0], value, where)


def _tuple(kind: Any, value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise DataError(f"'{where}' must be a list", f"it is {_shown(value)}")
    inner = typing.get_args(kind)[0]
    return tuple(_value(inner, entry, f"{where}[{index}]") for index, entry in enumerate(value))


def _dotted(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits or levels than Python is willing to print
        return f"an overlong {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
