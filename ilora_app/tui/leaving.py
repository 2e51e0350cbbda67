"""Quitting: at once, or after the question what becomes of a training in progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ilora_app.tui.engine.jobs import running_job
from ilora_app.tui.screens.dialogs.ask import Ask

if TYPE_CHECKING:
    from ilora_app.tui.app import IloraTui

ANSWERS = (("l", "leave it running"), ("s", "save and stop"), ("b", "back"))
TEXT = "A training is running. It can go on without this screen; Train finds it again."


async def leave(app: IloraTui) -> None:
    """Ends the app; a training in progress is left alone or told to save and stop, as the user says."""
    job = running_job(app.desk.out)
    if job is None:
        await app.end()
        return

    async def answered(answer: str | None) -> None:
        if answer == "s":
            job.stop()
        if answer in ("l", "s"):
            await app.end()

    await app.push_screen(Ask("Quit?", TEXT, ANSWERS), answered)
