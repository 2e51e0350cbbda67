"""What a killed process leaves is removed at the next start, and what a living one writes is left alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.benchmark.out_folder import prepare_out
from core.benchmark.run import Plan, run_benchmark
from core.errors import Interrupted
from core.events import Event, MethodFinished, Notice
from core.files import atomic_path, remove_leftovers, remove_whole
from core.recommenders import adapter, encoders
from core.stages import Watch
from tests import tiny

ROOT = Path(__file__).parents[2]
PLACES = ("", "cases", "results", "models", "work/encoders", "work/checkpoints/ilora-seed0-0123456789ab")


def parts(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob(".*.part-*")]


@contextlib.contextmanager
def child(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code`, killed at the latest when the block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


WRITER = """
import sys; from core.files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("half"); print("writing", flush=True); sys.stdin.readline()
"""


def test_what_a_living_process_writes_stays_until_it_is_killed(tmp_path: Path) -> None:
    with child(WRITER, tmp_path / "weights.safetensors") as process:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        remove_leftovers(tmp_path)
        with atomic_path(tmp_path / "other") as temporary:
            temporary.write_text("x")
        assert len(parts(tmp_path)) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        with atomic_path(tmp_path / "other") as temporary:
            temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_living_process_ends_as_if_it_were_alone(tmp_path: Path) -> None:
    with child(WRITER, tmp_path / "a.txt") as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        remove_leftovers(tmp_path)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(30) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_files_of_others_stay(tmp_path: Path) -> None:
    for name in (
        ".part-time.csv",
        "a.part-12345678",
        ".a.part-1",
        ".a.part-12345678.tar.gz",
        ".part-12345678",
    ):
        (tmp_path / name).write_text("mine")
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("place", PLACES)
def test_the_next_start_removes_what_a_killed_one_left_in_the_output_folder(
    own_home: Path, tmp_path: Path, place: str
) -> None:
    out = tmp_path / "runs"
    left = out / place / ".half.part-00c0ffee"
    left.mkdir(parents=True)
    (left / "weights").write_text("half")
    (out / place / ".half.part-00c0ffee.json").write_text("half")
    prepare_out(out)
    assert parts(out) == []


def test_the_next_start_removes_what_a_killed_one_left_in_the_cache(own_home: Path, tmp_path: Path) -> None:
    for place in ("", "models", "states", "titles", "readings", "cards", "datasets", "datasets/movielens"):
        (own_home / place / ".half.part-00c0ffee").mkdir(parents=True)
    prepare_out(tmp_path / "runs")
    assert parts(own_home) == []


def test_a_folder_that_is_removed_is_never_half_there(tmp_path: Path) -> None:
    code = """
import os, signal, sys; from pathlib import Path; from core.files import remove_whole
sys.addaudithook(lambda name, _: os.kill(os.getpid(), signal.SIGKILL) if name == "os.remove" else None)
remove_whole(Path(sys.argv[1]))
"""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "weights").write_text("x")
    with child(code, tmp_path / "run") as process:
        assert process.wait(30) == -signal.SIGKILL
    assert not (tmp_path / "run").exists() and parts(tmp_path)
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "run").mkdir()
    remove_whole(tmp_path / "run")
    assert not list(tmp_path.iterdir())


# --- checkpoints -------------------------------------------------------------------------------------------


def plan(out: Path, model: Path, *methods: str) -> Plan:
    return Plan(tiny.config(model), methods, (0,), out)


def test_checkpoints_go_although_their_run_was_killed_between_its_result_and_their_removal(
    tiny_home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(adapter, "clear_checkpoints", die)
        patch.setattr(encoders, "clear_checkpoints", lambda _: None)
        with pytest.raises(Interrupted):
            run_benchmark(plan(tmp_path, tiny_model, "lora"))
    assert len(list((tmp_path / "work" / "checkpoints").iterdir())) == 2
    events: list[Event] = []
    run_benchmark(plan(tmp_path, tiny_model, "lora"), events.append)
    assert [event.reused for event in events if isinstance(event, MethodFinished)] == [True]
    assert not list((tmp_path / "work" / "checkpoints").iterdir())


# --- several processes -------------------------------------------------------------------------------------


def test_whoever_waits_is_told_and_can_be_stopped(tmp_path: Path) -> None:
    said: list[Event] = []
    stop = threading.Event()
    with Watch().alone(tmp_path / "a.lock", "sleeping"):

        def wait() -> None:
            with (
                pytest.raises(Interrupted),
                Watch(said.append, stop.is_set).alone(tmp_path / "a.lock", "busy"),
            ):
                raise AssertionError

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not said and waiting.is_alive():
            time.sleep(0.01)
        stop.set()
        waiting.join(10)
    assert [event.text for event in said if isinstance(event, Notice)] == [
        "another process is busy; waiting for it"
    ]
