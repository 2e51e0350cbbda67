"""Train: choose, see the cost first, then watch the loss, the validation and the gate as they evolve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import Static

from core.config.presets import PRESETS
from core.config.settings import EMBEDDED
from core.events import Event
from core.methods import METHODS, local_methods
from core.serving.protocol import Estimate, Estimated, RequestFailed, Surveyed
from ilora_app.render.figures import method_name
from ilora_app.tui.drawing.bars import bar
from ilora_app.tui.engine import gpu
from ilora_app.tui.engine.trainings import TrainingProcess, last_training, start_training
from ilora_app.tui.screens.dialogs.ask import Ask
from ilora_app.tui.screens.dialogs.name import Name
from ilora_app.tui.screens.followed import FollowedTraining
from ilora_app.tui.state.app_state import MAIN, not_here
from ilora_app.tui.state.training_plan import WRONG, consent, cost_table
from ilora_app.tui.widgets.curves import CurvePlot
from ilora_app.tui.widgets.form import Form, Setting
from ilora_app.tui.widgets.gate import GatePanel
from ilora_app.tui.widgets.log_pane import LogPane
from ilora_app.tui.widgets.rows import Rows

PRESETS_OWN = "as preset"
FREE = {
    "model": ("Language model", "A name on the Hugging Face hub, a local folder, or a GGUF file."),
    "samples": ("Training samples", "How many samples LoRA and iLoRA learn from."),
}
"""What can be typed: title and explanation."""
READ_SECONDS = 0.25
GPU_SECONDS = 2.0


class TrainScreen(FollowedTraining):
    """A benchmark in a process of its own, which goes on when this screen is closed."""

    TAB = "train"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause/go on", tooltip="hold the training, or go on", id="train.pause"),
        Binding("c", "go_on", "Go on", tooltip="go on with the stopped training", id="train.go-on"),
        Binding("x", "stop", "Stop (saves)", tooltip="stop the training and save it", id="train.stop"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.estimate: Estimated | None = None
        self.estimate_problem = ""
        self._asked, self._asked_plan = -1, ""
        self._estimates: dict[str, Estimated] = {}
        """What plans were said to cost: going back to one asks nothing."""
        self._asking: Timer | None = None
        self._asked_at = time.monotonic()
        self._offered = self._furnished = self._ended = False
        self._drawn = -1
        """1 while the training runs, 0 once its end is drawn, -1 before anything is."""

    def content(self) -> ComposeResult:
        """The form and its cost at the left, what happens at the right."""
        settings = [
            Setting("dataset", "dataset", (self.app_state.dataset,)),
            Setting("preset", "preset", PRESETS),
            Setting("model", "model", (EMBEDDED,), free=True),
            Setting("samples", "samples", (PRESETS_OWN, "96", "480", "960"), free=True),
            Setting("seeds", "seeds", ("1", "3", "5")),
            *(
                Setting(f"method-{name}", method_name(name), on=METHODS[name].ticked)
                for name in local_methods()
            ),
        ]
        with Container(id="train"):
            with Vertical(id="plan"):
                yield Form(settings, id="form", classes="pane")
                yield Static(id="cost", classes="pane", markup=False)
            with Vertical(id="work"):
                with Horizontal(id="now"):
                    yield Static(id="facts", classes="pane", markup=False)
                    yield GatePanel(id="use")
                yield Horizontal(id="curves")
                yield LogPane(id="log", classes="pane")

    def on_mount(self) -> None:
        """Finds a training that goes on already."""
        titles = {"form": "Training", "cost": "What it costs", "facts": "Now"}
        for name, title in titles.items():
            self.query_one(f"#{name}").border_title = title
        self.query_one("#use").border_title = "Experts' mean use"
        self._offer()
        self.query_one(Form).focus()
        training = last_training(self.app_state.out)
        if training is not None:
            self._watch_training(training)
            self._show_plan(training)
        self.set_interval(READ_SECONDS, self._read)
        if gpu.is_there():
            self.set_interval(GPU_SECONDS, self.ask_gpu)
        self._draw()
        self._ask_soon()
        self.call_after_refresh(self._furnish)

    async def _furnish(self) -> None:
        """The plots come one after the other, so that the screen never stands still for all of them."""
        plots = (
            ("Training loss", CurvePlot(empty="\nThe loss, as it falls.", id="loss", classes="pane")),
            (
                "Validation HR@1",
                CurvePlot(True, "\nShare of first places, as it rises.", id="validation", classes="pane"),
            ),
        )
        for title, plot in plots:
            plot.border_title = title
            await self.query_one("#curves").mount(plot)
            await asyncio.sleep(0)
        self._furnished = True
        self._draw()

    # --- the plan ---------------------------------------------------------------------------------------

    def _offer(self) -> None:
        """Datasets and models that the engine knows of."""
        assets = self.app_state.survey.assets if self.app_state.survey else []
        form = self.query_one(Form)
        datasets = [asset["name"] for asset in assets if asset["kind"] == "dataset"]
        models = [asset["name"] for asset in assets if asset["kind"] == "model"]
        runs = self.app_state.survey.runs if self.app_state.survey and not self.app.is_web else []
        used = [str(run["model"]) for run in runs if run["model"]]
        form.offer("dataset", datasets or [self.app_state.dataset])
        form.offer("model", list(dict.fromkeys([*models, *used])) or [EMBEDDED])

    @on(Form.Changed)
    def _ask_soon(self) -> None:
        """Asks what the plan costs once the keys rest."""
        self.estimate, self.estimate_problem, self._asked_at = None, "", time.monotonic()
        self._draw_cost()
        if self._asking is not None:
            self._asking.stop()
        self._asking = self.set_timer(0.3, self._ask)

    def _ask(self) -> None:
        if self._elsewhere:
            self.estimate_problem = self._elsewhere
            self._draw_cost()
            return
        form = self.query_one(Form)
        plan: dict[str, Any] = {
            "preset": form.value("preset"),
            "dataset": form.value("dataset"),
            "model": form.value("model"),
            "methods": form.switched_on("method-"),
            "seeds": int(form.value("seeds")),
            "samples": self._samples(),
        }
        key = str(plan)
        if key in self._estimates:
            self.estimate = self._estimates[key]
            self._draw_cost()
            return
        self._asked_plan = key
        self._asked = self.app_state.main.ask(Estimate, out=str(self.app_state.out), **plan)

    @property
    def _elsewhere(self) -> str:
        """Where a server's run is shown, what there is to say of training."""
        return not_here(self.app_state.attached, "train", "ilora-app train")

    def _samples(self) -> int | None:
        """The number of samples that was chosen, or the preset's."""
        chosen = self.query_one(Form).value("samples")
        return None if chosen == PRESETS_OWN else int(chosen)

    @on(Form.Wanted)
    def _ask_name(self, message: Form.Wanted) -> None:
        """A model or a number that is not among the choices."""
        setting, form = message.setting, self.query_one(Form)
        if self.app.is_web and setting.key == "model":
            self.notify("A browser's session takes the models that are here.", severity="warning")
            return
        title, text = FREE[setting.key]

        def given(value: str | None) -> None:
            if value:
                form.give(setting.key, str(Path(value).expanduser()) if value.startswith("~") else value)

        self.app.push_screen(Name(title, text, "", WRONG[setting.key]), given)

    def hear(self, engine: str, event: Event) -> None:
        """The cost arrives."""
        if engine != MAIN or not self.is_mounted:
            return
        if isinstance(event, Surveyed):
            self._offer()
        elif isinstance(event, Estimated) and event.request == self._asked:
            self.estimate = self._estimates[self._asked_plan] = event
            self._draw_cost()
        elif isinstance(event, RequestFailed) and event.request == self._asked:
            self.estimate_problem = f"✕ {event.title}\n{event.hint}"
            self._draw_cost()

    def catch_up(self) -> None:
        """The engine may have learnt of more datasets."""
        if self.is_mounted:
            self._offer()

    def _draw_cost(self) -> None:
        cost = self.query_one("#cost", Static)
        found = self.estimate
        if self.estimate_problem:
            cost.update(self.estimate_problem)
        elif found is None:
            waited = time.monotonic() - self._asked_at
            alive = self.app_state.main.alive
            cost.update(f"estimating … {waited:.0f} s" if alive else "no engine: ctrl+r starts it")
        else:
            cost.update(cost_table(found))

    # --- the training -------------------------------------------------------------------------------------

    @on(Rows.Chosen, "#form")
    def _ask_start(self) -> None:
        """Time, memory, and what has to be fetched come before the yes."""
        if self._elsewhere:
            self.notify(self._elsewhere, severity="warning", markup=False)
            return
        if self.training is not None and self.training.running:
            self.notify("A training is running already: x stops it.")
            return
        form = self.query_one(Form)
        if not form.switched_on("method-"):
            self.notify("Choose at least one method.", severity="warning")
            return
        missing = self.app_state.missing_for(form.value("dataset"), form.value("model"))
        text = consent(self.estimate, missing)
        answers = (("y", "fetch and start" if missing else "start"), ("b", "back"))

        def answered(answer: str | None) -> None:
            if answer == "y":
                self._start(self._options())

        self.app.push_screen(Ask("Start this training?", text, answers), answered)

    def _options(self) -> list[str]:
        """The form as the command line's options."""
        form = self.query_one(Form)
        methods = form.switched_on("method-")
        options = ["--dataset", form.value("dataset"), "--preset", form.value("preset")]
        options += ["--methods", ",".join(methods), "--seeds", form.value("seeds")]
        if form.value("model") != EMBEDDED:
            options += ["--model", form.value("model")]
        if (samples := self._samples()) is not None:
            options += ["--samples", str(samples)]
        if self.app_state.precision != "auto":
            options += ["--precision", self.app_state.precision]
        return options

    def _start(self, options: Sequence[str]) -> None:
        try:
            self._watch_training(start_training(self.app_state.out, options))
        except OSError as error:
            self.notify(f"{error.strerror}: {error.filename}", title="not started", severity="error")

    def action_go_on(self) -> None:
        """Repeats the stopped training's own command, whatever the form says now."""
        if self.training is not None and not self.training.running:
            self._show_plan(self.training)
            self._start(self.training.options)

    def _show_plan(self, training: TrainingProcess) -> None:
        """The form shows what the training was asked for."""
        named = ("dataset", "preset", "model", "samples", "seeds")
        values = {name: value for name in named if (value := training.option(name)) is not None}
        values = {"model": EMBEDDED, "samples": PRESETS_OWN, **values} if training.options else values
        methods = training.option("methods")
        if methods is not None:
            self.query_one(Form).fill(values, methods.split(","), "method-")
            self._ask_soon()

    def _watch_training(self, training: TrainingProcess) -> None:
        """Follows a training from its first line."""
        self.following.begin(training)
        self._drawn = -1
        self._draw()

    def _read(self) -> None:
        """Takes what was written since."""
        if self.estimate is None and not self.estimate_problem:
            self._draw_cost()
        if self.training is None:
            self.draw_log()
            return
        events, running = self.following.read(), self.following.running
        if events or running or self._drawn:
            self._draw(curves=events or self._drawn < 0)
        if self._drawn == 1 and not running:
            self.app_state.ask_survey()  # there may be new runs on disk
        self._drawn = int(running)
        self.draw_log()

    def draw(self) -> None:
        """Everything but the cost."""
        self._draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys are offered where they do something."""
        del parameters
        if action in ("pause", "stop"):
            return self.training is not None and self.training.running
        if action == "go_on":
            return (
                self.training is not None and not self.training.running and "stopped" in self.progress.ending
            )
        return True

    # --- drawing ----------------------------------------------------------------------------------------

    def _state(self) -> str:
        if self.training is None:
            return "nothing runs"
        if self.progress.ending:
            return self.progress.ending
        if not self.training.running:
            return "ending"
        return "‖ paused: p goes on" if self.training.paused else "▶ running"

    def _draw(self, curves: bool = True) -> None:
        progress, training = self.progress, self.training
        running = training is not None and training.running
        self.set_class(running, "-working")
        form = self.query_one(Form)
        form.button = "running …" if running else "Start"
        form.refresh()
        facts = self.query_one("#facts", Static)
        facts.border_subtitle = self._state()
        if training is None:
            facts.update("Nothing was trained here yet.\nChoose at the left; Enter asks whether to start.")
        else:
            facts.update(self._facts(training.memory))
        curve = progress.curve
        use = self.query_one("#use", GatePanel)
        gates = curve.gates
        even = [1 / len(gates[-1])] * len(gates[-1]) if gates else None
        use.empty = "The gate shows here\nonce iLoRA trains."
        use.show(gates[-1] if gates else None, even, [], False, gates)
        use.border_subtitle = f"entropy {curve.entropy[-1]:.2f} of 1" if gates else ""
        if curves and self._furnished:
            self.query_one("#loss", CurvePlot).draw(curve.losses)
            self.query_one("#validation", CurvePlot).draw(curve.validations)
            self.query_one("#loss").border_subtitle = f"{curve.losses[-1][1]:.3f}" if curve.losses else ""
            validations = curve.validations
            shown = f"best {max(y for _, y in validations):.3f}" if validations else ""
            self.query_one("#validation").border_subtitle = shown
        state = running or bool(progress.ending)
        if (running, state) != (self._offered, self._ended):
            self._offered, self._ended = running, state
            self.refresh_bindings()

    def _facts(self, memory: int) -> Text:
        progress = self.progress
        text = Text(no_wrap=True, overflow="ellipsis")
        for name, fact in progress.facts(memory, self.gpu):
            text.append(f"{name:<10}", "dim")
            text.append(f"{fact}\n", "bold")
        if progress.total:
            width = max(4, self.query_one("#facts").content_size.width - 6)
            done = progress.step / progress.total
            text.append(bar(done, width))
            text.append(f" {100 * done:3.0f} %")
        return text
