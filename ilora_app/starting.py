"""Starts the command line, so that a stop is heeded from the first moment on, also while libraries load.

It imports next to nothing: what comes before it cannot be stopped in the program's own words.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

AGAIN = (sys.executable, "-P", "-m", "ilora_app")
"""Starts this program again; with -P nothing that lies in the working folder is taken for a module."""
STOPPED = 130
"""The exit code of a stop, whichever signal asked for it."""
_LATER = 0.05
"""Seconds until a stop that was lost comes again."""


class Stopped(KeyboardInterrupt):
    """A signal asked to stop while nothing was ready to save and stop by itself (see `cli/stopping.py`).

    A class of its own: a plain KeyboardInterrupt that passes through code made from text, as the methods of
    dataclasses are, makes Python end by the signal, whatever exit code is given.
    """


def main() -> None:
    """What `ilora-app` and `python -m ilora_app` run; see `ilora_app.cli.main`."""
    try:
        heed_signals()
        from ilora_app.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(STOPPED)


def heed_signals() -> None:
    """Lets Ctrl-C, SIGTERM and SIGHUP raise `Stopped`, but for those that our parent had ignored (nohup)."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # not every system has all of them
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    sys.unraisablehook = _unraisable


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise Stopped(number)


def _unraisable(failed: sys.UnraisableHookArgs) -> None:
    """A stop that came in a place that no error may leave (imports have many) comes once more, outside it."""
    if isinstance(failed.exc_value, Stopped):
        import _thread
        import threading

        threading.Timer(_LATER, _thread.interrupt_main, failed.exc_value.args).start()
    else:
        sys.__unraisablehook__(failed)
