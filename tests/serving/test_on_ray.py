"""What Ray's workers recommend is what one process does, stopped or killed too; nobody else reaches them."""

from __future__ import annotations

import dataclasses
import importlib.util
import ipaddress
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import torch

from core.errors import InputError, Interrupted
from core.events import Event, Notice, StageStarted, StepLogged
from core.runs.store import read_run
from core.serving import on_ray
from core.serving.all_users import NO_ITEM, Order, recommend_all
from core.serving.on_ray import Cluster, check_cluster, recommend_on_ray
from core.serving.opening import open_session
from core.serving.ray_workers import FIRST, PEOPLE, ROWS, SAID, Recommending, read_users
from core.stages import Watch
from tests import tiny
from tests.commands import run as command

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="pip install 'ilora-app[ray]'")
TOP, RETRIEVE, USERS = 3, 8, 200
EVIL = "import pathlib; pathlib.Path({mark!r}).touch()\n"


@dataclasses.dataclass(frozen=True)
class Made:
    """A tiny iLoRA, people, and what one process recommends to them."""

    run: Path
    people: Path
    whole: Path

    def order(self, out: Path) -> Order:
        return Order(out, TOP, RETRIEVE, self.people)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    place = tmp_path_factory.mktemp("ray")
    run, environment = tiny.trained_run(place, "ilora", tiny.save_model(place / "model"))
    draw, lines = random.Random(1), []
    for user in range(USERS):
        first = draw.randrange(tiny.ITEMS)
        history = [str((first + step) % tiny.ITEMS + 1) for step in range(draw.randint(0, 9))]
        lines.append({"user": f"u{user}", "history": history + ["no item"] * (user % 17 == 0)})
    people = place / "people.jsonl"
    people.write_text("\n".join(map(json.dumps, lines)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each worker has: with more, sums are rounded otherwise
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment, "OMP_NUM_THREADS": "1"}.items():
            patch.setenv(name, value)
        one = Made(run, people, place / "whole.parquet")
        tally = recommend_all(open_session(run), one.order(one.whole))
        assert tally.users == USERS and tally.unknown and tally.left_out[NO_ITEM]
        yield one
    torch.set_num_threads(threads)


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def is_equal(made: Made, out: Path) -> bool:
    """The same rows in the same order, the same scores, and the same said of the users."""
    found, whole = pq.read_table(out), pq.read_table(made.whole)
    return bool(found.equals(whole)) and found.schema.metadata == whole.schema.metadata


# --- without Ray -------------------------------------------------------------------------------------------


def test_the_workers_code_gives_the_single_processes_rows(made: Made, tmp_path: Path) -> None:
    """Reader and worker alone, each row as Ray passes it on."""
    from core.serving.ray_child import Piece
    from core.serving.user_parts import PartWriter, fill, tally_from

    worker = Recommending(str(made.run), "auto", TOP, RETRIEVE)

    def work(parts: Path, missing: list[Any]) -> None:
        writer = PartWriter(parts)
        spans = [(span.first, span.users) for span in missing]
        for row in read_users({}, str(made.run), str(made.people), spans, 32):
            found = worker({name: row[name] for name in (FIRST, PEOPLE)})
            said = json.loads(str(found[SAID][0]))
            piece = Piece(int(found[FIRST][0]), said, found[ROWS][0])
            writer.add(piece.first, piece.rows(), tally_from(said["tally"]))
        writer.flush()

    fill(tmp_path / "recs.parquet", lambda: USERS, lambda parts: None, work)
    assert is_equal(made, tmp_path / "recs.parquet")


def test_what_a_worker_cannot_do_comes_as_one_line(made: Made, tmp_path: Path) -> None:
    worker = Recommending(str(tmp_path / "nowhere"), "auto", TOP, RETRIEVE)
    said = json.loads(str(worker({FIRST: [0], PEOPLE: ["[]"]})[SAID][0]))
    assert "nowhere" in said["error"] and said["hint"] is not None
    lost = str(tmp_path / "no-people.jsonl")
    (row,) = read_users({}, str(made.run), lost, [(0, 1)], 32)
    good = Recommending(str(made.run), "auto", TOP, RETRIEVE)
    assert lost in json.loads(str(good(row)[SAID][0]))["error"]


def test_without_ray_the_command_says_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    asked = ("recommend", "--all-users", "--engine", "ray", "--out", tmp_path / "recs.parquet")
    _, said = command(capsys, *asked, code=2)
    error, hint = said.splitlines()
    assert error == "error: --engine ray needs Ray, which is not installed"
    assert hint == "hint: pip install 'ilora-app[ray]'"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("cluster", "says"),
    [
        (Cluster("127.0.0.1:1"), "nothing answers at 127.0.0.1:1"),
        (Cluster("ray://head:10001"), "is no host:port"),
        (Cluster("head"), "is no host:port"),
        (Cluster("head:0"), "is no host:port"),
        (Cluster(workers=0), "--workers is 0"),
        (Cluster(workers=10**6), "--workers is 1000000"),
    ],
    ids=str,
)
def test_a_cluster_that_cannot_be_used_is_one_line(
    monkeypatch: pytest.MonkeyPatch, cluster: Cluster, says: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(InputError, match=says):
        check_cluster(cluster)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--all-users", "--out", "recs.parquet", "--engine", "spark"),
        ("--all-users", "--out", "recs.parquet", "--address", "head:6379"),
        ("--all-users", "--out", "recs.parquet", "--workers", "2"),
        ("--user", "3", "--engine", "ray"),
    ],
    ids=" ".join,
)
def test_options_that_do_not_belong_together_are_refused(
    capsys: pytest.CaptureFixture[str], wrong: tuple[str, ...]
) -> None:
    _, said = command(capsys, "recommend", *wrong, code=2)
    assert said.startswith("error: ")


# --- with Ray ----------------------------------------------------------------------------------------------


@needs_ray
@pytest.mark.slow
def test_two_workers_on_this_machine_give_the_single_processes_file(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One is killed. While they work nothing of Ray listens to other machines; afterwards nothing is left."""
    evil = tmp_path / "evil"
    evil.mkdir()
    mark = tmp_path / "ran"
    for name in ("numpy", "torch", "sitecustomize", "core"):  # none of it may be imported from there
        (evil / f"{name}.py").write_text(EVIL.format(mark=str(mark)))
    monkeypatch.chdir(evil)
    temporary = Path(tempfile.gettempdir())
    before, events, listening, names = set(temporary.iterdir()), [], [], []

    def watched(event: Event) -> None:
        events.append(event)
        if isinstance(event, StageStarted) and event.stage == "recommend":
            for process in descendants():
                listening.extend(
                    found.laddr.ip
                    for found in process.net_connections("inet")
                    if found.status == psutil.CONN_LISTEN
                )
                names.append("".join(process.cmdline()[:1]))
                if "MapWorker" in names[-1] and sum("MapWorker" in name for name in names) == 2:
                    process.kill()

    out = tmp_path / "recs.parquet"
    tally = recommend_on_ray(read_run(made.run), made.order(out), "auto", Cluster(workers=2), Watch(watched))
    assert tally.users == USERS
    assert is_equal(made, out)
    assert listening and all(_is_loopback(address) for address in listening)
    assert sum("MapWorker" in name for name in names) == 2
    assert not mark.exists()
    assert descendants() == []
    assert not [path for path in set(temporary.iterdir()) - before if path.name.startswith("ilora-")]
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    assert any(isinstance(event, Notice) and "2 workers" in event.text for event in events)
    last = [event for event in events if isinstance(event, StepLogged) and event.stage == "recommend"][-1]
    assert (last.step, last.total) == (USERS, USERS)


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


KILLED = """
import os, signal, sys
from core.serving import user_parts
user_parts.PART_SECONDS = 0.0
write = user_parts.PartWriter._write
def once(*arguments):
    write(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
user_parts.PartWriter._write = once
from ilora_app.cli import main
main(sys.argv[1:])
"""


@needs_ray
@pytest.mark.slow
def test_killed_and_stopped_it_goes_on_without_a_lost_or_doubled_user(made: Made, tmp_path: Path) -> None:
    """Killed with Ray, stopped by Ctrl-C with Ray, and finished by one process: Ray's parts are its own."""
    out = tmp_path / "recs.parquet"
    asked = ["recommend", "--run", str(made.run), "--all-users", "--histories", str(made.people)]
    asked += ["--top", str(TOP), "--candidates", str(RETRIEVE), "--out", str(out)]
    on_ray_too = [*asked, "--engine", "ray", "--workers", "2"]
    before = set(Path(tempfile.gettempdir()).glob("ilora-*"))
    killed = subprocess.run([sys.executable, "-c", KILLED, *on_ray_too], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    parts = tmp_path / "recs.parquet.parts"
    first = {path.name for path in parts.glob("*.parquet")}
    assert len(first) == 1
    wait_for_the_end_of_ray(set(Path(tempfile.gettempdir()).glob("ilora-*")) - before)

    process = subprocess.Popen(
        [sys.executable, "-m", "ilora_app", *on_ray_too], stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b"workers" in line:  # Ray runs, and opens the run
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all that the command started
    said = process.stderr.read().decode()
    assert process.wait() == Interrupted.exit_code, said
    assert said.splitlines()[-1] == "stopped"
    assert "Traceback" not in said
    assert first <= {path.name for path in parts.glob("*.parquet")}

    done = subprocess.run([sys.executable, "-m", "ilora_app", *asked], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert is_equal(made, out)
    assert not parts.exists()


def wait_for_the_end_of_ray(folders: set[Path]) -> None:
    """Nothing may go on that was started by a process that is gone."""
    (folder,) = folders
    until = time.monotonic() + 60
    while left := [one for one in psutil.process_iter(["cmdline"]) if _names(one, folder)]:
        assert time.monotonic() < until, left
        time.sleep(0.5)
    assert not folder.exists()


def _names(process: psutil.Process, folder: Path) -> bool:
    return any(str(folder) in word for word in process.info["cmdline"] or ())


@needs_ray
@pytest.mark.slow
def test_what_answers_at_an_address_but_is_no_ray_is_given_up(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "ANSWER_SECONDS", 6.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        threading.Thread(target=lambda: [mute.accept() for _ in range(99)], daemon=True).start()
        cluster = Cluster(f"127.0.0.1:{mute.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(InputError, match=r"no Ray answers at 127\.0\.0\.1"):
            recommend_on_ray(
                read_run(made.run), made.order(tmp_path / "recs.parquet"), "auto", cluster, Watch()
            )
    assert time.monotonic() - started < 60
    assert descendants() == []
    assert not list(tmp_path.iterdir())
