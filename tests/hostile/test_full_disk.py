"""A disk that is full, cannot be written or goes away: one line, the right exit code, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.benchmark.run import Plan, run_benchmark
from core.errors import ResultError
from core.events import Event, MethodFinished, Notice, Saved
from core.results.store import load_results
from core.runs.store import list_runs
from ilora_app.cli import main
from tests import tiny


def asked(out: Path, model: Path, methods: str = "popularity,sasrec") -> list[str]:
    return [
        "bench", "--methods", methods, "--dataset", "tiny", "--model", str(model), "--quantize", "none",
        "--preset", "quick", "--layers", "2", "--rank", "4", "--samples", "16", "--out", str(out), "--json",
    ]  # fmt: skip


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code of a command and what it says on stderr."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0), capsys.readouterr().err.splitlines()


def is_one_complaint(said: list[str]) -> bool:
    """Whether there is one error and its hint, and no traceback."""
    words = [line.partition(":")[0] for line in said]
    return (
        words.count("error") == 1
        and words.count("hint") == 1
        and "Traceback (most recent call last)" not in words
    )


def figures(out: Path) -> dict[str, object]:
    results, problems = load_results(out)
    assert not problems
    return {result.method: [case.rank for case in result.cases] for result in results}


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A small disk of its own at a folder, where this machine lets us have one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() or _fails(command):
        pytest.skip("no disk can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fails(command: list[str]) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode != 0
    except OSError:
        return True


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.slow
def test_a_disk_that_fills_up_is_one_line_and_the_same_command_goes_on_once_there_is_space(
    tiny_home: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(asked(tmp_path / "whole", tiny_model), capsys)[0] == 0
    disk = tmp_path / "disk"
    with mounted(disk, "size=64k"):
        code, said = run(asked(disk / "runs", tiny_model), capsys)
        assert code in (2, 74) and is_one_complaint(said), said
        assert figures(disk / "runs").keys() <= {"popularity"}
        assert not list(disk.rglob(".*.part-*"))
        remount(disk, "size=64m")
        assert run(asked(disk / "runs", tiny_model), capsys)[0] == 0
        assert figures(disk / "runs") == figures(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("most", [100, 4_000, 30_000, 150_000])
def test_files_that_may_not_grow_are_one_line(
    tiny_home: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], most: int
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        code, said = run(asked(tmp_path / "runs", tiny_model, "popularity,lora"), capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code in (2, 74) and is_one_complaint(said), said
    assert not list(tmp_path.rglob(".*.part-*"))


@pytest.mark.parametrize("command", ["add", "fetch", "bench"])
def test_a_home_that_cannot_be_written_is_one_line(
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    home = tmp_path / "disk"
    with mounted(home, "size=1m"):
        for name, value in tiny.install(home, tmp_path / "mirror").items():
            monkeypatch.setenv(name, value)
        remount(home, "ro")
        ratings, films = tmp_path / "mirror" / "tiny" / "ratings.tsv", tmp_path / "films.tsv"
        films.write_text("item\ttitle\n" + "".join(f"{place}\tFilm {place}\n" for place in range(1, 41)))
        arguments = {
            "add": ["data", "add", "mine", str(ratings), "--items", str(films)],
            "fetch": ["data", "tiny"],
            "bench": asked(tmp_path / "runs", tiny_model, "popularity"),
        }[command]
        code, said = run(arguments, capsys)
        assert code in (2, 74) and is_one_complaint(said), said


# --- an output folder that goes away -----------------------------------------------------------------------


def plan(out: Path, model: Path, *methods: str, models: bool = False) -> Plan:
    return Plan(tiny.config(model), methods, (0,), out, models=models)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [MethodFinished, Saved])
def test_results_are_there_although_their_folder_was_removed_meanwhile(
    tiny_home: Path, tiny_model: Path, tmp_path: Path, moment: type[Event]
) -> None:
    said: list[str] = []

    def emit(event: Event) -> None:
        if isinstance(event, moment):
            shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        if isinstance(event, Notice) and event.level == "warning":
            said.append(event.text)

    found = run_benchmark(plan(tmp_path / "runs", tiny_model, "popularity", "sasrec"), emit)
    assert (
        figures(tmp_path / "runs").keys() == {result.method for result in found} == {"popularity", "sasrec"}
    )
    assert any("vanished meanwhile" in text for text in said)


@pytest.mark.slow
def test_a_training_whose_model_was_removed_meanwhile_does_not_end_as_if_it_were_there(
    tiny_home: Path, tiny_model: Path, tmp_path: Path
) -> None:
    def emit(event: Event) -> None:
        if isinstance(event, MethodFinished):
            shutil.rmtree(tmp_path / "runs")

    with pytest.raises(ResultError, match="vanished meanwhile") as caught:
        run_benchmark(plan(tmp_path / "runs", tiny_model, "sasrec", models=True), emit)
    assert caught.value.exit_code == 2
    run_benchmark(plan(tmp_path / "runs", tiny_model, "sasrec", models=True))
    assert len(list_runs(tmp_path / "runs")[0]) == 1


def test_the_last_words_of_a_command_on_a_full_output_are_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no such device here")
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "ilora_app", "models", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 74 and is_one_complaint(done.stderr.splitlines()), done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_command_whose_streams_are_closed_does_its_work(tmp_path: Path, closed: str) -> None:
    command = [sys.executable, "-m", "ilora_app", "models", "--json"]
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {shlex.join(command)} {closed}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
