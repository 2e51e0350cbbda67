"""The process that speaks with Ray, as its parent sees it: started, heard, and ended at any time."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import queue
import secrets
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from core.errors import InputError
from core.stages import LOOK_SECONDS

AHEAD = 16
"""Results that may wait to be written."""
END_SECONDS = 10.0
"""How long Ray is given to end by itself."""
LONGEST_FOLDER = 40
"""Letters of a folder below which Ray's sockets have names that the system takes."""
GOES_ON, HEAR = "the same command goes on from there", "--verbose shows what Ray says"
PRIVATE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # what makes Ray listen on loopback, on Linux too
    "RAY_AUTH_MODE": "token",
}
"""For a cluster of our own: no other machine reaches it, and no other user of this one."""
NO_STATISTICS = {"RAY_USAGE_STATS_ENABLED": "0"}
QUIET = {"RAY_BACKEND_LOG_LEVEL": "fatal", "PYTHONWARNINGS": "ignore"}
PLAIN = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "TOKENIZERS_PARALLELISM": "false"}


Frame = tuple[dict[str, Any], bytes]
"""What it says, and what comes with it."""


@dataclass(frozen=True)
class Piece:
    """What a worker gave for one batch of users."""

    first: int
    """The place of the first of them."""
    said: dict[str, Any]
    """See `Recommending.__call__`."""
    content: bytes

    def rows(self) -> Any:
        """The recommendations, a pyarrow table."""
        import pyarrow as pa

        return pa.ipc.open_stream(self.content).read_all()


class Child:
    """Starts the process when the block begins, and ends it and all that it started with the block.

    Args:
        asked: what it is to do, see `ray_driver`.
    """

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        self.addresses: list[str] = []
        """Of the cluster's machines."""
        self._frames: queue.Queue[Frame | None] = queue.Queue(AHEAD)
        self._ending = threading.Event()

    def __enter__(self) -> Child:
        place = tempfile.gettempdir()
        place = place if len(place) < LONGEST_FOLDER else "/tmp"
        self.folder = Path(tempfile.mkdtemp(prefix="ilora-", dir=place))
        self._log = (self.folder / "said.txt").open("wb+")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.serving.ray_driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if self.asked["verbose"] else self._log,
            env=self._environment(),
            cwd=self.folder.anchor,  # Ray's workers import from the folder where it is started first
            start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        line = json.dumps({**self.asked, "folder": str(self.folder)}) + "\n"
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
        threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # Ray's processes are of its session
        self.process.wait()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        found = {**os.environ, **NO_STATISTICS, **PLAIN}
        own = str(Path(__file__).parents[2])
        if own not in site.getsitepackages():  # a checkout, perhaps known to this process alone
            found["PYTHONPATH"] = os.pathsep.join(filter(None, (own, os.environ.get("PYTHONPATH"))))
        if not self.asked["verbose"]:
            found |= QUIET
        if not self.asked["address"]:
            found |= {**PRIVATE, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
            found.pop("RAY_ADDRESS", None)
        return found

    def _listen(self, frames: BinaryIO) -> None:
        """Reads frames, no more than may wait."""
        with contextlib.suppress(OSError, ValueError):
            while line := frames.readline():
                said = json.loads(line)
                self._put((said, frames.read(said.get("bytes", 0))))
        self._put(None)

    def _put(self, frame: Frame | None) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(queue.Full):
                self._frames.put(frame, timeout=LOOK_SECONDS)
                return

    # --- what it says ---------------------------------------------------------------------------------------

    def ready(self, seconds: float) -> int:
        """Waits until Ray has started or answered, and gives the number of workers.

        Raises:
            InputError: it did not within so many seconds.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(queue.Empty):
                said, _ = self._checked(self._frames.get(timeout=LOOK_SECONDS), self._not_ready(), HEAR)
                self.addresses = said["addresses"]
                return int(said["workers"])
        raise InputError(f"{self._not_ready()} within {seconds:.0f} s", HEAR)

    def _not_ready(self) -> str:
        address = self.asked["address"]
        return f"no Ray answers at {address}" if address else "Ray did not start"

    def is_private(self) -> bool:
        """Whether all its machines are this one, reached through loopback."""
        return all(ipaddress.ip_address(address).is_loopback for address in self.addresses)

    def take(self) -> Piece | None:
        """Waits for the next result; None after the last one."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self.take_within(LOOK_SECONDS)

    def take_within(self, seconds: float) -> Piece | None:
        """The next result; None after the last one.

        Raises:
            queue.Empty: there is none within so many seconds.
            InputError: a worker or Ray failed.
        """
        said, content = self._checked(self._frames.get(timeout=seconds), "Ray ended", f"{GOES_ON}; {HEAR}")
        if said["kind"] == "end":
            return None
        record = json.loads(said["said"])
        if "error" in record:
            raise InputError(record["error"], record["hint"])
        return Piece(said["first"], record, content)

    def _checked(self, frame: Frame | None, failed: str, hint: str) -> Frame:
        if frame is None:
            raise InputError(f"{failed}: {self._last_words()}", hint)
        if frame[0]["kind"] == "failed":
            raise InputError(f"{failed}: {frame[0]['why']}", hint)
        return frame

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read()[-4000:].decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"
