"""Kills `bench` and `train` again and again and compares what they end with: `python -m tests.hostile.kills`.

    python -m tests.hostile.kills [--kills 100] [--minutes 15] [--seed 0]

A round is one command of the tiny random model in a fresh home and output folder, with a checkpoint after
every step. It is started and killed with SIGKILL a few times: at a random moment, at a random touch of a file
as Python sees it (open, rename, mkdir, remove), or at a random system call (by strace, where it is there).
Then it may end, and its results, models and cases must be, bit for bit, those of a run that was left alone,
with no file more. What depends on the moment (times, memory) is left out of the comparison. The exit code is
1 at the first difference.

Each run is forked from a process that has imported everything and computed nothing: starting takes no time.
"""

from __future__ import annotations

import argparse
import collections
import functools
import hashlib
import importlib
import json
import os
import pkgutil
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOMENTARY = {"created", "timings", "peak_memory_bytes", "peak_gpu_memory_bytes", "command", "files"}
"""What results and run cards say of the moment; the checksums of a run's files cover those, too."""
DATED = {".lock", ".html", ".md", ".csv", ".jsonl"}
"""Files that are empty, or that say the same as the results with the times of the run."""
FILE_EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.listdir", "os.scandir"}
CALLS = ("openat", "write", "fsync", "rename", "unlink", "mkdir", "rmdir", "flock", "close", "pwrite64")
LONGEST = 240.0
"""Seconds that one run may take."""


def commands(model: Path, out: Path) -> dict[str, list[str]]:
    """Both commands with a training of seconds."""
    small = [
        "--dataset", "tiny", "--model", str(model), "--quantize", "none", "--preset", "quick",
        "--out", str(out), "--layers", "2", "--rank", "4", "--samples", "64", "--micro-batch", "8", "--json",
    ]  # fmt: skip
    return {
        "bench": ["bench", "--methods", "popularity,sasrec,zero-shot,lora,ilora", *small],
        "train": ["train", "--method", "ilora", *small],
    }


def outcome(folder: Path) -> dict[str, str]:
    """Every file below a folder, with a checksum of what it says beyond the moment."""
    return {
        str(path.relative_to(folder)): _said(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _said(path: Path) -> str:
    if path.suffix in DATED or path.name == "manifest.json":
        return "there"
    content = path.read_bytes()
    if path.suffix == ".json":
        content = json.dumps(_without_moments(json.loads(content)), sort_keys=True).encode()
    if path.parent.name == "encoders" or path.name.startswith("encoder"):
        content = _tensors(path)
    return hashlib.sha256(content).hexdigest()


def _without_moments(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_moments(entry) for key, entry in value.items() if key not in MOMENTARY}
    return [_without_moments(entry) for entry in value] if isinstance(value, list) else value


def _tensors(path: Path) -> bytes:
    """The weights of an encoder, whose file also holds how long its training took."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    from safetensors.torch import load_file

    tensors = load_file(path)
    return b"".join(name.encode() + tensors[name].numpy().tobytes() for name in sorted(tensors))


# --- runs ------------------------------------------------------------------------------------------------


def prepare() -> None:
    """Imports everything and computes nothing, so that a fork can do all of it."""
    import torch

    import core
    import ilora_app.cli
    from core.training.job import Schedule

    for package in (core, ilora_app):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".tui" not in module.name and "__main__" not in module.name:
                importlib.import_module(module.name)
    for name in ("transformers.models.llama.modeling_llama", "peft", "pandas", "torch._dynamo"):
        importlib.import_module(name)
    for name in ("core.recommenders.adapter", "core.recommenders.encoders"):
        vars(sys.modules[name])["Schedule"] = functools.partial(Schedule, checkpoint_seconds=0.0)
    torch.set_num_threads(1)
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"  # a forked child's other threads cannot convert weights


def start(arguments: list[str], environment: dict[str, str], log: Path, die_at: int = 0) -> tuple[int, int]:
    """A run in a child, which waits for a byte; its process and where that byte goes.

    Args:
        die_at: at which touch of a file it kills itself; 0 for never.
    """
    ready, go = os.pipe()
    process = os.fork()
    if process:
        os.close(ready)
        return process, go
    code = 1
    try:
        os.close(go)
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.environ.update(environment)
        os.read(ready, 1)
        if die_at:
            sys.addaudithook(_killer(die_at))
        from ilora_app.cli import main as program

        sys.argv = ["ilora-app", *arguments]
        program(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _killer(left: int) -> Callable[[str, tuple[Any, ...]], None]:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in FILE_EVENTS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def ended(process: int, seconds: float) -> int | None:
    """The exit code, or None if it still runs after so many seconds."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.005)


def traced(process: int, call: str, count: int) -> subprocess.Popen[bytes] | None:
    """Strace, ready to kill a process at its so-many-th call; None where it cannot."""
    if not shutil.which("strace"):
        return None
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={count}"]
    command = ["strace", "-f", "-qq", "-o", os.devnull, *inject, "-p", str(process)]
    tracer = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(500):
        if "TracerPid:\t0" not in Path(f"/proc/{process}/status").read_text():
            return tracer
        if tracer.poll() is not None:
            return None
        time.sleep(0.01)
    tracer.kill()
    tracer.wait()
    return None


def killed(
    draw: random.Random, arguments: list[str], environment: dict[str, str], log: Path, span: float
) -> str:
    """Runs a command and kills it in a way that is drawn; says how, or "" if it came to its end first."""
    way = draw.choice(("moment", "touch", "call"))
    at, moment, call = int(10 ** draw.uniform(0, 3.2)), draw.uniform(0, span), draw.choice(CALLS)
    process, go = start(arguments, environment, log, die_at=at if way == "touch" else 0)
    tracer = traced(process, call, max(1, at // 4)) if way == "call" else None
    if way == "call" and tracer is None:
        way = "moment"
    os.write(go, b"x")
    os.close(go)
    code = ended(process, moment if way == "moment" else LONGEST)
    if code is None:
        os.kill(process, signal.SIGKILL)
        code = ended(process, LONGEST)
    if tracer is not None:
        tracer.wait(30)
    if code not in (0, -signal.SIGKILL):
        raise AssertionError(f"exit code {code}:\n{log.read_text()[-3000:]}")
    return way if code else ""


def whole(arguments: list[str], environment: dict[str, str], log: Path) -> float:
    """Runs a command to its end, which must be a good one; seconds it took."""
    began = time.monotonic()
    process, go = start(arguments, environment, log)
    os.write(go, b"x")
    os.close(go)
    code = ended(process, LONGEST)
    if code is None:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    if code != 0:
        raise AssertionError(f"exit code {code}:\n{log.read_text()[-3000:]}")
    return time.monotonic() - began


# --- rounds ------------------------------------------------------------------------------------------------


def folders(base: Path, name: str) -> tuple[Path, dict[str, str]]:
    """A fresh output folder and the environment of a fresh home."""
    from tests import tiny

    folder = base / name
    shutil.rmtree(folder, ignore_errors=True)
    return folder / "runs", tiny.install(folder / "home", folder / "mirror")


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """In words what one folder has and the other one has not, or has otherwise."""
    return [
        f"{name}: {'missing' if name not in found else 'left behind' if name not in expected else 'differs'}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    until = time.monotonic() + 60 * given.minutes
    prepare()
    from tests import tiny

    draw, ways = random.Random(given.seed), collections.Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        child = os.fork()  # the parent must compute nothing
        if child == 0:
            tiny.save_model(base / "model")
            os._exit(0)
        os.waitpid(child, 0)
        expected, spans = {}, {}
        for word in ("bench", "train"):
            out, environment = folders(base, "one")
            spans[word] = whole(commands(base / "model", out)[word], environment, base / "log")
            expected[word] = outcome(out.parent)
            print(f"{word}: {len(expected[word])} files, {spans[word]:.1f} s when left alone", flush=True)
        rounds = 0
        while sum(ways.values()) < given.kills and time.monotonic() < until:
            word = ("bench", "train")[rounds % 2]
            out, environment = folders(base, "one")
            for _ in range(min(draw.randint(2, 12), given.kills - sum(ways.values()))):
                way = killed(
                    draw, commands(base / "model", out)[word], environment, base / "log", spans[word]
                )
                ways[way] += bool(way)
                if not way:
                    break
            whole(commands(base / "model", out)[word], environment, base / "log")
            rounds += 1
            wrong = differences(expected[word], outcome(out.parent))
            print(
                f"round {rounds}: {word}, {sum(ways.values())} kills so far, {len(wrong)} wrong", flush=True
            )
            if wrong:
                print("\n".join(wrong))
                return 1
    counted = ", ".join(f"{count} at a {way}" for way, count in sorted(ways.items()) if way)
    print(f"{sum(ways.values())} kills ({counted}) in {rounds} rounds: all ended bit-equal, nothing was left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
