"""What a screen does with the training that it follows: holds it, stops it, shows its log and the GPU."""

from __future__ import annotations

from textual import work
from textual.markup import escape

from ilora_app.tui.engine import gpu
from ilora_app.tui.engine.trainings import TrainingProcess
from ilora_app.tui.screens.main_screen import TabScreen
from ilora_app.tui.state.following import Following
from ilora_app.tui.state.progress import Progress
from ilora_app.tui.widgets.log_pane import LogPane


class FollowedTraining(TabScreen):
    """Base of the screen that trains; its log pane has the id `log`."""

    def __init__(self) -> None:
        super().__init__()
        self.following = Following(self.app_state.journal)
        self.gpu = ""
        """How busy the graphics processor is; empty where there is none."""

    @property
    def training(self) -> TrainingProcess | None:
        """The training that is looked at, running or not."""
        return self.following.training

    @property
    def progress(self) -> Progress:
        """What it has said."""
        return self.following.progress

    def draw(self) -> None:
        """Shows how the training is."""
        raise NotImplementedError

    @work(exclusive=True, group="gpu")
    async def ask_gpu(self) -> None:
        """Asks how busy the graphics processor is, while something trains."""
        self.gpu = " | ".join(await gpu.use()) if self.following.running else ""

    def draw_log(self) -> None:
        """What was said since."""
        pane = self.query_one(LogPane)
        pane.show(self.app_state.journal)
        pane.border_subtitle = escape(self.training.shown) if self.training else ""

    def action_pause(self) -> None:
        """Holds the training, or lets it go on."""
        if self.training is None:
            return
        if self.training.paused:
            self.training.go_on()
        else:
            self.training.pause()
        self.draw()

    def action_stop(self) -> None:
        """Asks it to save and end."""
        if self.training is not None and self.training.running:
            self.following.stopped = True
            self.training.stop()
            self.progress.say("stopping: what was learnt is being saved")
            self.draw()
