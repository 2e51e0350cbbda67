"""Records what the screen draws as an asciicast, version 2, which `asciinema play` and its web player read.

Format: docs.asciinema.org/manual/asciicast/v2. A line per event: a recording that was cut off plays, too.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from textual.app import App
from textual.driver import Driver
from textual.events import Resize

from core.errors import InputError


def _size() -> os.terminal_size:
    """Of the terminal that is drawn on, which is stderr's, whatever the environment says."""
    try:
        return os.get_terminal_size(sys.__stderr__.fileno())  # type: ignore[union-attr]
    except (AttributeError, OSError, ValueError):
        return shutil.get_terminal_size()


class Cast:
    """An asciicast that is being written.

    Args:
        path: where to; an older file is replaced.

    Raises:
        InputError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        size = _size()
        try:
            self._file: TextIO = path.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise InputError(
                f"cannot write {path}: {error.strerror}", "give --record a file in a folder of yours"
            ) from error
        self._started, self._lock = time.monotonic(), threading.Lock()
        head = {"version": 2, "width": size.columns, "height": size.lines, "timestamp": int(time.time())}
        self._line({**head, "title": "ilora-app tui", "env": {"TERM": "xterm-256color"}})

    def draw(self, data: str) -> None:
        """What goes to the terminal, at this moment."""
        self._event("o", data)

    def resize(self, width: int, height: int) -> None:
        """The terminal has another size."""
        self._event("r", f"{width}x{height}")

    def close(self) -> None:
        """Nothing more comes."""
        with self._lock:
            self._file.close()

    def _event(self, code: str, data: str) -> None:
        with self._lock:  # a new size comes from another thread
            if not self._file.closed:
                self._line([round(time.monotonic() - self._started, 6), code, data])

    def _line(self, record: Any) -> None:
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")


def recorded(kind: type[Driver], cast: Cast) -> type[Driver]:
    """A driver like this one that also records what it draws; the clipboard's content is left out."""

    class Recorded(kind):  # type: ignore[misc, valid-type]
        """Draws and records."""

        def write(self, data: str) -> None:
            """To the terminal, and into the recording."""
            super().write(data)
            if not data.startswith("\x1b]52;"):
                cast.draw(data)

        def process_message(self, message: Any) -> None:
            """A new size belongs to the recording."""
            if isinstance(message, Resize):
                cast.resize(message.size.width, message.size.height)
            super().process_message(message)

    return Recorded


def driver_of_this_machine() -> type[Driver]:
    """What the app would draw with."""
    return App.get_driver_class(None)  # type: ignore[arg-type]
