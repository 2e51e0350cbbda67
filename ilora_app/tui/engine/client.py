"""The engine as a child process: starts it, asks it, reads what it says, and ends it quickly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from subprocess import Popen
from typing import Any

from textual.message import Message

from core.errors import DataError
from core.events import Event
from core.serving.protocol import Request
from ilora_app.tui.engine.ahead import COMMAND, Adopted, adopt, environment
from ilora_app.tui.engine.messages import EngineComplained, EngineDied, EngineMumbled, EngineSaid
from ilora_app.tui.engine.process_priority import stand_back

Child = asyncio.subprocess.Process | Adopted
LONGEST_LINE = 2**26
LAST_LINES = 12
PATIENCE = 0.5
"""Seconds between asking a child to end and ending it."""


class Engine:
    """One warm child.

    Args:
        name: tells its messages from another engine's.
        post: where messages go.
        command: what to run.
        ahead: a child that was started already and is taken the first time.
    """

    niceness = 5
    """How far the child stands back when processors are short; the screen itself is at 0."""

    def __init__(
        self,
        name: str,
        post: Callable[[Message], Any],
        command: Sequence[str] = COMMAND,
        ahead: Popen[bytes] | None = None,
    ) -> None:
        self.name, self._post, self._command, self._ahead = name, post, command, ahead
        self._process: Child | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._said: deque[str] = deque(maxlen=LAST_LINES)
        self._number = 0
        self._ending = False

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Starts the child; a running one is ended first."""
        await self.stop()
        self._ending = False
        self._said.clear()
        self._process = await self._child()
        stand_back(self._process.pid, self.niceness)
        self._readers = [
            asyncio.create_task(self._read(self._process)),
            asyncio.create_task(self._overhear(self._process)),
        ]

    async def _child(self) -> Child:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.poll() is None:
            return await adopt(ahead, LONGEST_LINE)
        return await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=LONGEST_LINE,
            env=environment(),
        )

    def ask(self, kind: type[Request], **fields: Any) -> int:
        """Sends a request and gives its number; nothing is sent to a child that is gone."""
        self._number += 1
        if self.alive and self._process is not None and self._process.stdin is not None:
            line = kind(request=self._number, **fields).to_json() + "\n"
            with contextlib.suppress(ConnectionError):  # a dying child is announced by its reader
                self._process.stdin.write(line.encode())
        return self._number

    async def stop(self) -> None:
        """Ends the child: politely for a moment, then surely. Nothing of it is left."""
        self._ending = True
        process = self._process
        if process is not None and process.returncode is None:
            self._signal(process, signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), PATIENCE)
            except TimeoutError:
                self._signal(process, signal.SIGKILL)
                await process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        if isinstance(process, Adopted):
            process.close()
        self._readers = []
        self._process = None

    @staticmethod
    def _signal(process: Child, number: int) -> None:
        """To the child and all it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    async def _read(self, process: Child) -> None:
        assert process.stdout is not None
        async for raw in process.stdout:
            line = raw.decode("utf-8", errors="replace").strip()
            if not line:
                continue
            try:
                event = Event.from_json(line)
            except DataError:
                self._post(EngineMumbled(self.name, line))
                continue
            self._post(EngineSaid(self.name, event))
            await asyncio.sleep(0)  # a burst of lines must not hold the screen
        code = await process.wait()
        if not self._ending:
            self._post(EngineDied(self.name, code, "\n".join(self._said)))

    async def _overhear(self, process: Child) -> None:
        """Passes on what comes on stderr, and keeps its last lines for the day it dies."""
        assert process.stderr is not None
        async for raw in process.stderr:
            line = raw.decode("utf-8", errors="replace").rstrip()
            self._said.append(line)
            self._post(EngineComplained(self.name, line))


def engine_in(
    precision: str, ahead: Popen[bytes] | None = None
) -> Callable[[str, Callable[[Message], Any]], Engine]:
    """Makes engines that open runs in this precision.

    Args:
        precision: what the language model is computed in.
        ahead: a child of `start_ahead` in that precision, for the engine that is made first.
    """
    waiting = [ahead]

    def make(name: str, post: Callable[[Message], Any]) -> Engine:
        begun = waiting.pop() if waiting else None
        return Engine(name, post, (*COMMAND, "--precision", precision), begun)

    return make
