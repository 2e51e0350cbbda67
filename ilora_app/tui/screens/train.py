"""Train: choose, see the cost first, then watch the loss, the validation and the gate as they evolve."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.markup import escape
from textual.timer import Timer
from textual.widgets import Static

from core.events import Event
from core.methods import METHODS, local_methods
from core.serving.protocol import Estimate, Estimated, RequestFailed, Surveyed
from ilora_app.render.figures import method_name, size
from ilora_app.tui.drawing.bars import bar
from ilora_app.tui.engine.jobs import Job, Log, last_job, start_job
from ilora_app.tui.screens.dialogs.name import Name
from ilora_app.tui.screens.main_screen import Place
from ilora_app.tui.state.app_state import EMBEDDED, MAIN, about
from ilora_app.tui.state.progress import Progress
from ilora_app.tui.widgets.curves import CurvePlot
from ilora_app.tui.widgets.form import Form, Setting
from ilora_app.tui.widgets.gate import GatePanel
from ilora_app.tui.widgets.rows import Rows

PRESETS = ("quick", "standard", "paper", "auto")
PRESETS_OWN = "as preset"
FREE = {
    "model": ("Language model", "A name on the Hugging Face hub, a local folder, or a GGUF file."),
    "samples": ("Training samples", "How many samples LoRA and iLoRA learn from."),
}
"""What can be typed: title and explanation."""
READ_SECONDS = 0.25


def wrong_number(text: str) -> str:
    """What is wrong with a number of samples."""
    return "" if text.isdecimal() and int(text) > 0 else "a whole number, 1 or more"


def wrong_model(text: str) -> str:
    """What is wrong with a model, as far as can be seen without fetching it."""
    if not text:
        return "a name or a path"
    path = Path(text).expanduser()
    if text.startswith(("/", ".", "~")) and not path.exists():
        return f"there is no {path}"
    if path.suffix == ".gguf" and not path.is_file():
        return f"there is no file {path}"
    if path.is_dir() and not (path / "config.json").is_file():
        return f"{path} holds no config.json"
    return ""


def _cost(found: Estimated) -> Table:
    """Time and memory of a plan, and what they were estimated for."""
    memory = size(found.memory_bytes) if found.memory_bytes else "unknown"
    facts = {
        "time": about(found.minutes),
        "memory": f"{memory}, {found.memory_basis}" if found.memory_bytes else found.memory_basis,
        "preset": found.preset,
        "here": found.hardware,
        "cases": ", ".join(f"{n:,} {name}" for name, n in found.cases.items()),
    }
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, fact in facts.items():
        table.add_row(name, Text(fact, style="bold" if name in ("time", "memory") else ""))
    return table


WRONG = {"model": wrong_model, "samples": wrong_number}


class TrainScreen(Place):
    """A benchmark in a process of its own, which goes on when this screen is closed."""

    PLACE = "train"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", "Pause/go on", tooltip="hold the training, or let it go on"),
        Binding("x", "stop", "Stop (saves)", tooltip="stop the training; what was learnt is saved"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.job: Job | None = None
        self.lines: Log | None = None
        self.progress = Progress()
        self.estimate: Estimated | None = None
        self.estimate_problem = ""
        self._asked = -1
        self._asking: Timer | None = None
        self._offered = self._furnished = False
        self._drawn = -1
        """1 while the job runs, 0 once its end is drawn, -1 before anything is."""

    def content(self) -> ComposeResult:
        """The form and its cost at the left, what happens at the right."""
        settings = [
            Setting("dataset", "dataset", (self.desk.dataset,)),
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
                yield Static(id="log", classes="pane")

    def on_mount(self) -> None:
        """Finds a training that goes on already."""
        titles = {"form": "Training", "cost": "What it costs", "facts": "Now", "log": "Log"}
        for name, title in titles.items():
            self.query_one(f"#{name}").border_title = title
        self.query_one("#use").border_title = "Experts' mean use"
        self._offer()
        self.query_one(Form).focus()
        job = last_job(self.desk.out)
        if job is not None:
            self._watch_job(job)
        self.set_interval(READ_SECONDS, self._read)
        self._draw()
        self._ask_soon()
        self.call_after_refresh(self._furnish)

    async def _furnish(self) -> None:
        """The plots come one after the other, so that the screen never stands still for all of them."""
        plots = (
            ("Training loss", CurvePlot(empty="\nThe loss, as it falls.", id="loss", classes="pane")),
            (
                "Validation HR@1",
                CurvePlot(True, "\nHits on top, as they rise.", id="validation", classes="pane"),
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
        assets = self.desk.survey.assets if self.desk.survey else []
        form = self.query_one(Form)
        datasets = [asset["name"] for asset in assets if asset["kind"] == "dataset"]
        models = [asset["name"] for asset in assets if asset["kind"] == "model"]
        runs = self.desk.survey.runs if self.desk.survey and not self.app.is_web else []
        used = [str(run["model"]) for run in runs if run["model"]]
        form.offer("dataset", datasets or [self.desk.dataset])
        form.offer("model", list(dict.fromkeys([*models, *used])) or [EMBEDDED])

    @on(Form.Changed)
    def _ask_soon(self) -> None:
        """Asks what the plan costs once the keys rest."""
        self.estimate, self.estimate_problem = None, ""
        self._draw_cost()
        if self._asking is not None:
            self._asking.stop()
        self._asking = self.set_timer(0.3, self._ask)

    def _ask(self) -> None:
        form = self.query_one(Form)
        self._asked = self.desk.main.ask(
            Estimate,
            preset=form.value("preset"),
            dataset=form.value("dataset"),
            model=form.value("model"),
            methods=form.switched_on("method-"),
            seeds=int(form.value("seeds")),
            out=str(self.desk.out),
            samples=self._samples(),
        )

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
            self.estimate = event
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
            cost.update("estimating …" if self.desk.main.alive else "no engine: ctrl+r starts it")
        else:
            cost.update(_cost(found))

    # --- the job ----------------------------------------------------------------------------------------

    @on(Rows.Chosen, "#form")
    def _start(self) -> None:
        if self.job is not None and self.job.running:
            self.notify("A training is running already: x stops it.")
            return
        form = self.query_one(Form)
        methods = form.switched_on("method-")
        if not methods:
            self.notify("Choose at least one method.", severity="warning")
            return
        options = ["--dataset", form.value("dataset"), "--preset", form.value("preset")]
        options += ["--methods", ",".join(methods), "--seeds", form.value("seeds")]
        if form.value("model") != EMBEDDED:
            options += ["--model", form.value("model")]
        if (samples := self._samples()) is not None:
            options += ["--samples", str(samples)]
        try:
            self._watch_job(start_job(self.desk.out, options))
            self.set_focus(None)  # the keys are the training's now: space pauses
        except OSError as error:
            self.notify(f"{error.strerror}: {error.filename}", title="not started", severity="error")

    def _watch_job(self, job: Job) -> None:
        """Follows a job from its first line."""
        self.job, self.lines, self.progress, self._drawn = job, Log(job.log), Progress(), -1
        self._draw()

    def _read(self) -> None:
        """Takes what was written since."""
        if self.job is None or self.lines is None:
            return
        events = self.lines.read()
        for event in events:
            self.progress.take(event)
        for line in self.lines.odd:
            self.progress.say(f"odd line: {line}")
        self.lines.odd.clear()
        running = self.job.running
        if not running and not events and not self.progress.ending:
            self.progress.ending = "it ended without a word"
            self.progress.say(self._last_words(self.job) or self.progress.ending)
        if events or running or self._drawn:
            self._draw(curves=bool(events) or self._drawn < 0)
        if self._drawn == 1 and not running:
            self.desk.ask_survey()  # there may be new runs on disk
        self._drawn = int(running)

    @staticmethod
    def _last_words(job: Job) -> str:
        try:
            lines = Path(job.errors).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return next((line for line in reversed(lines) if line.strip()), "")

    def action_pause(self) -> None:
        """Holds the training, or lets it go on."""
        if self.job is None:
            return
        if self.job.paused:
            self.job.go_on()
        else:
            self.job.pause()
        self._draw()

    def action_stop(self) -> None:
        """Asks it to save and end."""
        if self.job is not None and self.job.running:
            self.job.stop()
            self.progress.say("stopping: what was learnt is being saved")
            self._draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys are offered where they do something."""
        del parameters
        if action in ("pause", "stop"):
            return self.job is not None and self.job.running
        return True

    # --- drawing ----------------------------------------------------------------------------------------

    def _state(self) -> str:
        if self.job is None:
            return "nothing runs"
        if self.progress.ending:
            return self.progress.ending
        if not self.job.running:
            return "ending"
        return "‖ paused: space goes on" if self.job.paused else "▶ running"

    def _draw(self, curves: bool = True) -> None:
        progress, job = self.progress, self.job
        running = job is not None and job.running
        self.set_class(running, "-working")
        form = self.query_one(Form)
        form.button = "running …" if running else "Go on" if "stopped" in progress.ending else "Start"
        form.refresh()
        facts = self.query_one("#facts", Static)
        facts.border_subtitle = self._state()
        if job is None:
            facts.update("Nothing was trained here yet.\nChoose at the left, Enter starts.")
        else:
            facts.update(self._facts(job.memory))
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
        log = self.query_one("#log", Static)
        room = max(1, log.content_size.height)
        log.update(Text("\n".join(progress.said[-room:]), no_wrap=True, overflow="ellipsis"))
        log.border_subtitle = escape(job.shown) if job else ""
        if running != self._offered:
            self._offered = running
            self.refresh_bindings()

    def _facts(self, memory: int) -> Text:
        progress = self.progress
        text = Text(no_wrap=True, overflow="ellipsis")
        for name, fact in progress.facts(memory):
            text.append(f"{name:<10}", "dim")
            text.append(f"{fact}\n", "bold")
        if progress.total:
            width = max(4, self.query_one("#facts").content_size.width - 6)
            done = progress.step / progress.total
            text.append(bar(done, width))
            text.append(f" {100 * done:3.0f} %")
        return text
