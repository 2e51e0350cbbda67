"""Quitting: at once, or after the question what becomes of a training in progress."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from ilora_app.tui.engine.trainings import running_training
from ilora_app.tui.screens.dialogs.ask import Ask

if TYPE_CHECKING:
    from ilora_app.tui.app import IloraTui

RUNNING = (("l", "leave it running"), ("s", "save and stop"), ("b", "back"))
PAUSED = (("g", "let it go on"), ("p", "leave it paused"), ("s", "save and stop"), ("b", "back"))
LOOK, GRACE = 2, 5
"""Seconds between two looks whether the terminal is there, and until its loss ends everything."""
TEXT = "A training is running. It can go on without this screen; Train finds it again."
HELD = (
    "A training is paused. Left so, it keeps its memory and does nothing until Train lets it go on; "
    "it can also go on without this screen."
)


async def leave(app: IloraTui) -> None:
    """Ends the app; a training in progress is left alone, let go on, or told to save and stop."""
    training = running_training(app.app_state.out)
    if training is None:
        await app.end()
        return

    async def answered(answer: str | None) -> None:
        if answer == "s":
            training.stop()
        if answer == "g":
            training.go_on()
        if answer in ("l", "g", "p", "s"):
            await app.end()

    text, answers = (HELD, PAUSED) if training.paused else (TEXT, RUNNING)
    await app.push_screen(Ask("Quit?", text, answers), answered)


def end_when_told(app: IloraTui) -> None:
    """SIGTERM ends the app as its key does, so that the terminal is left as it was."""
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in a thread, not there
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: app.run_worker(app.end(), group="end"))


def end_without_terminal() -> None:
    """Ends this process where its terminal is gone and no signal said so, as it is in some containers.

    Nothing can be drawn or asked then, and the screen's own loop may hang in writing. What was started by the
    screen ends when this process is gone; a training goes on.
    """
    if not hasattr(select, "poll") or not sys.__stdin__ or not sys.__stdin__.isatty():
        return
    watched = select.poll()
    watched.register(sys.__stdin__.fileno(), 0)  # a hang-up is told unasked

    def watch() -> None:
        while not watched.poll(1000 * LOOK):
            continue
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, name="terminal", daemon=True).start()


def say_how(app: IloraTui) -> None:
    """Copies what is selected, as terminals do; otherwise says which key quits."""
    if text := app.screen.get_selected_text():
        app.copy_to_clipboard(text)
    else:
        app.notify("q quits. A training in progress is asked about first.", title="still here")
