"""Describes the engine's messages, for docs/protocol.md: `python -m core.serving.description` prints it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import sys
import typing
from collections.abc import Iterable, Iterator

from core import events
from core.serving import protocol, tables

_HEAD = """# The engine's messages

Written by `python -m core.serving.description`; a test compares this page with the code.

`ilora-app engine --json` reads requests from its standard input and writes events to its standard output: one
JSON object per line, in UTF-8. A request has its type under `ask` and a number under `request`, which every
answer to it carries. An event has its type under `event`. Fields with `= value` may be left out; a field that
is not listed, or is of another type, is refused with one line. `ilora-app bench --json` writes the events
without a request's number.
"""


def describe() -> str:
    """The whole page."""
    answers = [kind for kind in events.Event.kinds().values() if issubclass(kind, protocol.Answer)]
    plain = [kind for kind in events.Event.kinds().values() if not issubclass(kind, protocol.Answer)]
    listed = [kind for _, kind in inspect.getmembers(tables, typing.is_typeddict)]
    parts = [
        _HEAD,
        *_section("Requests", protocol.Request.kinds().values()),
        *_section("Answers", [kind for kind in answers if kind is not protocol.Answer]),
        *_section("Other events", [kind for kind in plain if kind.__module__ == events.__name__]),
        *_section("Tables inside messages", [protocol.Question, *listed]),
    ]
    return "\n".join(parts)


def _section(title: str, kinds: Iterable[type]) -> Iterator[str]:
    yield f"## {title}\n"
    for kind in kinds:
        yield f"**{kind.__name__}**: {inspect.getdoc(kind)}\n"
        fields = list(_fields(kind))
        yield from fields
        if fields:
            yield ""


def _fields(kind: type) -> Iterator[str]:
    """A line for each field: name, type, default, and what stands below it in the code."""
    notes = {name: note for base in reversed(kind.__mro__) for name, note in _notes(base).items()}
    hints = {name: hint for base in reversed(kind.__mro__) for name, hint in _written(base).items()}
    defaults = _defaults(kind)
    for name, hint in hints.items():
        if name == "request" or hint.startswith("ClassVar"):
            continue
        default = f" = {defaults[name]!r}" if name in defaults else ""
        yield f"- `{name}: {hint}{default}`" + (f" – {notes[name]}" if name in notes else "")


def _defaults(kind: type) -> dict[str, object]:
    if not dataclasses.is_dataclass(kind):
        return {}
    found = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return found


def _written(kind: type) -> dict[str, str]:
    hints = vars(kind).get("__annotations__", {}).items()
    return {
        name: hint.__forward_arg__ if isinstance(hint, typing.ForwardRef) else hint for name, hint in hints
    }


def _notes(kind: type) -> dict[str, str]:
    """Field -> the text below it."""
    if kind.__module__ not in (protocol.__name__, tables.__name__, events.__name__):
        return {}
    (tree,) = ast.parse(inspect.getsource(kind)).body
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    notes = {}
    for field, text in itertools.pairwise(body):
        is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            notes[field.target.id] = " ".join(str(text.value.value).split())  # type: ignore[attr-defined]
    return notes


if __name__ == "__main__":
    sys.stdout.write(describe())
