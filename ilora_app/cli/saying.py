"""What commands print: lines for people, without what would act on a terminal, and JSON for programs."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import typer

from core.safe_text import json_text, plain

_STREAMS = 2
"""The largest number that the system has for a program's own streams."""


def say(text: object, err: bool = False) -> None:
    """One line on stdout or stderr."""
    typer.echo(plain(str(text)), err=err)


def say_json(record: Any, indent: int | None = 1) -> None:
    """A value as JSON on stdout, in characters that stdout's encoding has; what is not a number is null."""
    write_json(json.dumps(_finite(record), ensure_ascii=False, allow_nan=False, indent=indent))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(text: str) -> None:
    """One JSON text and a line break on stdout, at once."""
    sys.stdout.write(json_text(text, sys.stdout.encoding) + "\n")
    sys.stdout.flush()


def prepare_streams() -> None:
    """Lets stdout and stderr replace what their encoding does not have, such as titles in another script.

    One that was closed before the start leads nowhere, or the first file opened would take its place.
    """
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (handle := os.open(os.devnull, os.O_RDWR)) <= _STREAMS:
            pass
        os.close(handle)
    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - as long as we run
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
