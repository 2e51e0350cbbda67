"""Whatever line the engine is sent, it answers or says that it cannot; it ends with its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ODD = [
    "not json", "[]", "5", "null", '{"ask": []}', '{"ask": {}}', '{"ask": null}', '{"ask": "Nonsense"}',
    "[" * 100_000, '{"ask":' * 50_000, '{"ask": "Survey"}', '{"ask": "Survey", "request": "x", "out": "r"}',
    '{"ask": "Survey", "request": 1, "out": 5}', '{"ask": "Survey", "request": 1, "out": "\\ud800"}',
    '{"ask": "Survey", "request": 1, "out": "a\\u0000b"}', '{"ask": "Fetch", "request": 1, "dataset": []}',
    '{"ask": "Fetch", "request": 1, "dataset": "\\u001b[31m"}',
    '{"ask": "Open", "request": 1, "out": "r", "run": "/dev/null"}',
    '{"ask": "Rank", "request": 1, "question": 5}', '{"ask": "Rank", "request": 1, "question": {}}',
    '{"ask": "Why", "request": 1, "question": {"history": ["a"]}, "item": 1, "candidates": []}',
    '{"ask": "Differences", "request": 1, "run": "x", "other": "y"}',
    '{"ask": "Estimate", "request": 1, "preset": "quick", "dataset": "tiny", "model": "m", '
    '"methods": ["lora"], "seeds": 100000000, "out": "r"}',
    '{"ask": "Rank", "request": ' + "9" * 5000 + "}", '{"ask": "Rank", "request": 1e999}', "\x00", "\x80\xff",
]  # fmt: skip
COMMAND = [sys.executable, "-m", "ilora_app", "engine", "--json"]


def test_every_odd_line_is_answered_and_the_engine_lives(tiny_home: Path, tmp_path: Path) -> None:
    engine = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert engine.stdin is not None
    lines = [line.encode("latin-1") for line in ODD] + [b"x" * (5 << 20)]
    last = json.dumps({"ask": "Survey", "request": 77, "out": str(tmp_path)}).encode()
    said, complained = engine.communicate(b"\n".join([*lines, last]) + b"\n", timeout=60)
    events = [json.loads(line) for line in said.decode().splitlines()]
    kinds = [event["event"] for event in events]
    assert engine.returncode == 0
    assert kinds.count("Notice") + kinds.count("RequestFailed") + kinds.count("Surveyed") >= len(lines)
    surveyed = [event for event in events if event["event"] == "Surveyed" and event["request"] == 77]
    assert len(surveyed) == 1  # an estimate, which has a thread of its own, may answer after it
    assert b"Traceback" not in complained


def test_one_bad_card_hides_no_other(tiny_home: Path, tmp_path: Path) -> None:
    (tiny_home / "cards" / "bad.toml").write_text("name = 5")
    line = json.dumps({"ask": "Survey", "request": 1, "out": str(tmp_path)}).encode()
    said = subprocess.run(COMMAND, input=line, capture_output=True, timeout=60, check=True).stdout
    (event,) = map(json.loads, said.decode().splitlines())
    assert "tiny" in [asset["name"] for asset in event["assets"]]
    assert len(event["problems"]) == 1 and "bad.toml" in event["problems"][0]


@pytest.mark.skipif(os.name == "nt", reason="processes have other parents there")
def test_it_ends_with_its_parent_even_while_a_line_is_half_sent(tiny_home: Path) -> None:
    keeper = (
        "import subprocess, sys, time, os\n"
        "r, w = os.pipe()\n"
        f"child = subprocess.Popen({COMMAND!r}, stdin=r, stdout=subprocess.DEVNULL)\n"
        "os.write(w, b'{')\n"
        "print(child.pid, flush=True)\n"
        "sleeper = subprocess.Popen(['sleep', '60'], pass_fds=(w,), stdout=subprocess.DEVNULL)\n"
        "print(sleeper.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", keeper], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child, sleeper = int(parent.stdout.readline()), int(parent.stdout.readline())
    try:
        time.sleep(2)
        parent.kill()
        parent.wait()
        psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=10)
        assert not psutil.pid_exists(child)
    finally:
        os.kill(sleeper, signal.SIGKILL)
