"""The whole program in a real pseudo-terminal, with the real engine and a model that is small but real."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.recommenders.registry import method_class
from core.runs.store import run_folder, save_run
from ilora_app.tui.engine.trainings import start_training
from tests import made_up, tiny

pytestmark = pytest.mark.slow

ESCAPES = re.compile(r"\x1b(\[[0-9;?<>=:]*[ -/]*[@-~]|\][^\x07]*\x07|[()][0-9A-B]|P[^\x1b]*\x1b\\|.)")
DOWN, TAB = "\x1b[B", "\t"


class Terminal:
    """A child behind a pseudo-terminal; what it draws is kept as text."""

    def __init__(self, arguments: list[str], size: tuple[int, int] = (120, 40)) -> None:
        self.master, slave = pty.openpty()
        self.resize(*size)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ilora_app", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"},
            start_new_session=True,
        )
        os.close(slave)
        self.raw = b""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if hasattr(self, "process"):
            self.process.send_signal(signal.SIGWINCH)

    def read(self, seconds: float = 0.05) -> None:
        if select.select([self.master], [], [], seconds)[0]:
            try:
                self.raw += os.read(self.master, 1 << 16)
            except OSError:  # the child has closed its side
                time.sleep(seconds)

    @property
    def text(self) -> str:
        return ESCAPES.sub("", self.raw.decode("utf-8", errors="replace"))

    def send(self, keys: str) -> None:
        """Types, and forgets what was drawn before."""
        self.read(0)
        self.raw = b""
        os.write(self.master, keys.encode())

    def expect(self, pattern: str, seconds: float = 90) -> re.Match[str]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := re.search(pattern, self.text):
                return found
            assert self.process.poll() is None, self.text[-3000:]
            self.read()
        raise AssertionError(f"{pattern!r} was not drawn in {seconds} s: {self.text[-3000:]}")

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def quit(self) -> float:
        """Presses q; seconds until the process has ended."""
        started = time.monotonic()
        self.send("q")
        while self.process.poll() is None and time.monotonic() < started + 20:
            self.read()
        return time.monotonic() - started


@pytest.fixture
def runs(tiny_home: Path, tiny_model: Path, tmp_path: Path) -> Path:
    """An iLoRA run of the tiny model, trained now."""
    recommender = method_class("ilora")()
    task = tiny.task(tiny.config(tiny_model), tmp_path / "work")
    recommender.fit(task)
    path = run_folder(tmp_path / "runs", "tiny", "paper", "ilora", 0, "a" * 64)
    path.parent.mkdir(parents=True)
    save_run(recommender, task, path, made_up.result())
    return tmp_path / "runs"


@pytest.fixture
def terminal(runs: Path) -> Iterator[Terminal]:
    """The program, opened on that run."""
    opened = Terminal(["tui", "--out", str(runs), "--dataset", "tiny"])
    yield opened
    if opened.process.poll() is None:
        opened.process.kill()
        opened.process.wait()
    os.close(opened.master)


def test_pick_a_user_edit_see_the_ranking_move_and_quit(terminal: Terminal) -> None:
    terminal.expect("Explore")
    terminal.expect(r"◎ iLoRA \d+ · SASRec \d+ · Popularity \d+")
    terminal.send(DOWN)
    terminal.expect(r"User \S+ · \d+ of \d+ seen")
    terminal.expect(r"◎ iLoRA \d+")
    terminal.send(TAB + "d")
    terminal.expect("edited: u undo, r reset")
    for _ in range(4):  # an edit before the first answer has nothing to be compared with
        terminal.read(2)
        terminal.send("d")
        terminal.read(3)
        if re.search(r"[▲▼]\d", terminal.text):
            break
    terminal.expect(r"[▲▼]\d")
    for size in ((80, 24), (60, 20), (120, 40)):
        terminal.resize(*size)
    terminal.send("r")
    terminal.expect(r"◎ iLoRA \d+")
    family = terminal.family()
    assert family
    assert terminal.quit() < 5  # the promise of two seconds is measured in benchmarks, on a quiet machine
    assert terminal.process.returncode == 0
    assert not [child for child in family if child.is_running()]


def test_quitting_while_the_model_loads_leaves_nothing_behind(terminal: Terminal) -> None:
    terminal.expect("loading the model")
    family = terminal.family()
    assert terminal.quit() < 5
    assert not [child for child in family if child.is_running()]


def test_an_engine_that_is_killed_is_told_and_starts_again(terminal: Terminal) -> None:
    terminal.expect(r"◎ iLoRA \d+")
    for child in terminal.family():
        child.suspend()  # so that it dies with a question unanswered
    terminal.send(TAB + "d")
    terminal.expect("edited: u undo, r reset")
    for child in terminal.family():
        child.kill()
    terminal.expect("ctrl\\+r")
    terminal.send("\x12")
    terminal.expect(r"● iLoRA")
    terminal.send(DOWN)
    terminal.expect("edited|History|iLoRA")
    assert terminal.quit() < 5


def test_a_run_deleted_while_open_still_answers_and_a_killed_screen_takes_its_engine_with_it(
    terminal: Terminal, runs: Path
) -> None:
    terminal.expect(r"◎ iLoRA \d+")
    shutil.rmtree(runs / "models")
    terminal.send(DOWN)
    terminal.expect("deleted; what is in")  # a long path wraps the words before it
    terminal.expect(r"◎ iLoRA \d+")
    family = terminal.family()
    terminal.process.kill()
    terminal.process.wait()
    end = time.monotonic() + 10
    while time.monotonic() < end and any(child.is_running() for child in family):
        time.sleep(0.05)
    assert not [child for child in family if child.is_running()]


def test_quitting_beside_a_training_saves_and_stops_it(
    terminal: Terminal, runs: Path, tiny_model: Path
) -> None:
    training = start_training(
        runs,
        ["--dataset", "tiny", "--model", str(tiny_model), "--methods", "ilora", "--preset", "standard"],
    )
    terminal.expect(r"◎ iLoRA \d+")
    terminal.send("3")
    terminal.expect("▶ running")
    terminal.send("q")
    terminal.expect("save and stop")
    terminal.send("s")
    end = time.monotonic() + 30
    while (terminal.process.poll() is None or training.running) and time.monotonic() < end:
        terminal.read()
    assert terminal.process.poll() == 0, terminal.text[-3000:]
    assert not training.running


def test_told_to_end_it_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    terminal.expect("Explore")
    terminal.process.send_signal(signal.SIGTERM)
    end = time.monotonic() + 20
    while terminal.process.poll() is None and time.monotonic() < end:
        terminal.read()
    assert terminal.process.poll() is not None
    terminal.read(0.2)
    assert b"\x1b[?1049l" in terminal.raw  # back from the other screen
    assert b"\x1b[?25h" in terminal.raw  # the cursor shows


def test_a_terminal_that_vanishes_without_a_word_ends_all(runs: Path) -> None:
    left = Terminal(["tui", "--out", str(runs), "--dataset", "tiny"])
    left.expect(r"◎ iLoRA \d+")
    family = left.family()
    os.close(left.master)  # it controls no process here, so that no signal is sent
    left.process.wait(20)
    psutil.wait_procs(family, 10)
    assert not [child for child in family if child.is_running()]


def test_without_a_terminal_it_says_so_and_ends() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "ilora_app", "tui"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 2
    assert found.stdout == b""
    assert b"error: tui needs a terminal" in found.stderr
    assert b"hint:" in found.stderr


def test_a_port_that_is_taken_is_named_without_a_traceback() -> None:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = subprocess.run(
            [sys.executable, "-m", "ilora_app", "tui", "--serve", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert found.returncode == 2
    assert f"error: port {port} cannot be used".encode() in found.stderr
    assert b"Traceback" not in found.stderr
