"""The first engine, started before the screen's own libraries are imported: each takes half a second."""

from __future__ import annotations

import asyncio
import os
import subprocess
from asyncio.streams import FlowControlMixin
from functools import partial

from ilora_app.starting import AGAIN

COMMAND = (*AGAIN, "engine", "--json")


def environment() -> dict[str, str]:
    """What a child runs in."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}


def start_ahead(precision: str) -> subprocess.Popen[bytes]:
    """Starts an engine in a session of its own; what it says waits in its pipe until it is read."""
    command = (*COMMAND, "--precision", precision)
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(), start_new_session=True, bufsize=0
    )


class Adopted:
    """A child that was started without a loop, as asyncio's own children are.

    Made by `adopt`.
    """

    def __init__(self, process: subprocess.Popen[bytes], limit: int) -> None:
        self._process, self._transports = process, list[asyncio.BaseTransport]()
        self.pid = process.pid
        self.stdout, self.stderr = asyncio.StreamReader(limit), asyncio.StreamReader(limit)
        self.stdin: asyncio.StreamWriter | None = None

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    async def wait(self) -> int:
        """Waits for its end."""
        while (code := self._process.poll()) is None:
            await asyncio.sleep(0.02)
        return code

    def close(self) -> None:
        """Lets its pipes go."""
        for transport in self._transports:
            transport.close()

    async def connect(self) -> None:
        """Joins its pipes to the running loop."""
        loop, process = asyncio.get_running_loop(), self._process
        for reader, pipe in ((self.stdout, process.stdout), (self.stderr, process.stderr)):
            transport, _ = await loop.connect_read_pipe(partial(asyncio.StreamReaderProtocol, reader), pipe)
            self._transports.append(transport)
        writing, flow = await loop.connect_write_pipe(FlowControlMixin, process.stdin)
        self._transports.append(writing)
        self.stdin = asyncio.StreamWriter(writing, flow, None, loop)


async def adopt(process: subprocess.Popen[bytes], limit: int) -> Adopted:
    """The child, as the running loop's."""
    adopted = Adopted(process, limit)
    await adopted.connect()
    return adopted
