"""`bench --jobs N`: several processes share one benchmark, and it ends as one of a single process does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from core.results.store import load_results
from ilora_app.cli import main
from ilora_app.cli.jobs import other_jobs
from tests import tiny
from tests.cli.test_bench import event_of, finish, options, start

SHARED = ("--methods", "sasrec,gru4rec,lora", "--seeds", "2", "--samples", "32", "--json")
RUNS = 6

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("shop")
    return {**os.environ, **tiny.install(folder / "home", folder / "mirror"), "OMP_NUM_THREADS": "1"}


def helpers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(process.pid).children()
        if any("--helper" in word for word in child.cmdline())
    ]


def test_two_share_searches_and_runs_and_end_as_one(
    environment: dict[str, str], tiny_model: Path, tmp_path: Path
) -> None:
    tuned = (*SHARED, "--tune", "2")
    finish(options(tiny_model, tmp_path / "one", *tuned), environment)
    events, said = finish(options(tiny_model, tmp_path / "two", *tuned, "--jobs", "2"), environment)
    assert "2 processes share the work" in said
    made = [event["reused"] for event in events if event["event"] == "MethodFinished"]
    assert len(made) == RUNS
    assert any(made), "the other process did nothing"
    one, two = ({found.key: found for found in load_results(tmp_path / name)[0]} for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert not list((tmp_path / "two").rglob(".*.part-*")), "something was left half-written"
    for key, result in two.items():
        assert (result.cases, result.notes) == (one[key].cases, one[key].notes)
        assert result.command == one[key].command + " --jobs 2", "also of those that the other one made"


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_all_stop_with_the_first_also_where_it_is_killed(
    environment: dict[str, str], tiny_model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    arguments = options(tiny_model, tmp_path / "runs", *SHARED, "--jobs", "2")
    with start(arguments, environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if event_of(line)["event"] == "MethodFinished":
                break
        others = helpers_of(process)
        assert len(others) == 1
        process.send_signal(number)
        process.communicate(timeout=120)
    assert process.returncode in (130, -signal.SIGKILL)
    _, alive = psutil.wait_procs(others, timeout=60)
    assert not alive, "a process goes on that nobody waits for"
    results, problems = load_results(tmp_path / "runs")
    assert 1 <= len(results) < RUNS and not problems


def test_what_one_that_is_killed_leaves_the_other_does(
    environment: dict[str, str], tiny_model: Path, tmp_path: Path
) -> None:
    runs = ("--methods", "popularity,sasrec,gru4rec", "--json", "--jobs", "2")
    with start(options(tiny_model, tmp_path, *runs), environment) as process:
        while not (others := helpers_of(process)):
            assert process.poll() is None
            time.sleep(0.05)
        others[0].kill()
        _, said = process.communicate(timeout=240)
    assert process.returncode == 0
    assert "another process ended early" in said
    assert {result.method for result in load_results(tmp_path)[0]} == {"popularity", "sasrec", "gru4rec"}


def test_one_that_fails_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ilora-app", "bench", "--no-such-option"])
    with other_jobs(2, "quick", "ilora-app bench"):
        pass
    assert "another process ended early (error: No such option: --no-such-option)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--jobs", "0"], "--jobs is 0"),
        (["--jobs", "2", "--budget", "5"], "--jobs 2 and --budget exclude each other"),
        (["--jobs", "2", "--tensorboard", "board"], "--jobs 2 and --tensorboard exclude each other"),
    ],
)
def test_what_several_cannot_do_is_one_line(
    more: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *more, "--out", str(tmp_path)])
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_beside_a_launcher_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--jobs", "2", "--out", str(tmp_path)])
    assert ended.value.code == 2
    assert "starts its processes by itself" in capsys.readouterr().err
