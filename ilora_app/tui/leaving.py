"""Quitting: at once, or after the question what becomes of a training in progress."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from ilora_app.tui.engine.trainings import running_training
from ilora_app.tui.screens.dialogs.ask import Ask

if TYPE_CHECKING:
    from ilora_app.tui.app import IloraTui

RUNNING = (("l", "leave it running"), ("s", "save and stop"), ("b", "back"))
PAUSED = (("g", "let it go on"), ("p", "leave it paused"), ("s", "save and stop"), ("b", "back"))
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


def say_how(app: IloraTui) -> None:
    """Copies what is selected, as terminals do; otherwise says which key quits."""
    if text := app.screen.get_selected_text():
        app.copy_to_clipboard(text)
    else:
        app.notify("q quits. A training in progress is asked about first.", title="still here")
