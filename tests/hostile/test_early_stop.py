"""A stop is heeded from the first moment on: also while libraries load it is one word and one exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there are no such signals")
ROOT = Path(__file__).parents[2]
SIGNAL_AT = """
import os, runpy, signal, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.{name})

sys.meta_path.insert(0, Watch())
sys.argv = ["ilora-app", *{arguments}]
runpy.run_module("ilora_app", run_name="__main__", alter_sys=True)
"""
BENCH = ["bench", "--dataset", "tiny", "--methods", "sasrec"]


def run(code: str) -> tuple[int, str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("module", ["ilora_app.cli", "typer", "numpy", "torch", "torch.nn"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_stop_while_a_library_is_imported_is_one_word(tiny_home: Path, module: str, name: str) -> None:
    code = SIGNAL_AT.format(module=module, name=name, arguments=BENCH)
    assert run(code) == (130, "", "stopped\n")


def test_what_nohup_ignores_stops_nothing(tiny_home: Path) -> None:
    ignored = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    code = ignored + SIGNAL_AT.format(module="typer", name="SIGHUP", arguments=["models", "--json"])
    assert run(code)[0] == 0


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_stop_in_a_place_that_no_error_leaves_is_not_lost(name: str) -> None:
    code = (
        "import os, signal, time, weakref\n"
        "from ilora_app.starting import Stopped, heed_signals\n"
        "class Dying: pass\n"
        "heed_signals()\n"
        "dying = Dying()\n"
        f"gone = weakref.ref(dying, lambda _: os.kill(os.getpid(), signal.{name}))\n"
        "try:\n"
        "    del dying\n"
        "    until = time.monotonic() + 20\n"
        "    while time.monotonic() < until: pass\n"
        "    print('lost')\n"
        "except Stopped: print('heeded')\n"
    )
    assert run(code) == (0, "heeded\n", "")


def test_the_exit_code_is_kept_where_the_stop_passes_code_made_from_text() -> None:
    code = (
        "import os, signal, sys\n"
        "from ilora_app.starting import heed_signals\n"
        "heed_signals()\n"
        "try:\n    exec('os.kill(os.getpid(), signal.SIGINT); [0 for _ in range(9)]')\n"
        "except KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    assert run(code)[0] == 130
