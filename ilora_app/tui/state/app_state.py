"""What the program knows and whom it asks: two engines, the opened run, what is on disk. No widgets here."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

from textual.message import Message

from core.config.settings import EMBEDDED
from core.events import Event, Fetching, Notice, StageStarted, StepLogged
from core.methods import METHODS, method_names, preferred_methods, record_of
from core.serving.protocol import (
    AssetListed,
    EncoderReady,
    Estimate,
    Estimated,
    Fetch,
    Fetched,
    GatesListed,
    ItemsListed,
    Open,
    Opened,
    Ranked,
    RequestFailed,
    RunListed,
    Survey,
    Surveyed,
    UsersListed,
    WarmedUp,
)
from ilora_app.render.figures import duration, method_name, plural, size, stage_name, stage_steps
from ilora_app.tui.engine.client import Engine
from ilora_app.tui.state.journal import Journal
from ilora_app.tui.state.run_data import RunData

MAIN, BESIDE = "main", "beside"
ENGINES = (MAIN, BESIDE)
SPEAKERS = {MAIN: "engine", BESIDE: "second engine"}
"""Engine -> how the log calls it."""
Post = Callable[[Message], Any]


class Stage(Enum):
    """Where the main engine stands."""

    STARTING = "starting the engine"
    MISSING = "nothing is fetched yet"
    FETCHING = "fetching"
    OPENING = "loading the model"
    READY = "ready"
    FAILED = "the run could not be opened"
    DEAD = "the engine stopped"


class AppState:
    """Keeps the engines, routes what they say into what is known.

    Args:
        post: where engine messages go.
        out: the folder of runs.
        dataset: what to use where no run says so.
        run: the run to open; the newest iLoRA run if not given.
        make_engine: how an engine is made.
        precision: what trainings that start here compute in.
        attached: the address of the server that answers; empty where engines are children.
    """

    def __init__(
        self,
        post: Post,
        out: Path,
        dataset: str = "movielens",
        run: str | None = None,
        make_engine: Callable[[str, Post], Engine] = Engine,
        precision: str = "auto",
        attached: str = "",
    ) -> None:
        self.attached = attached
        self.out, self.dataset, self.run, self.precision = out, dataset, run, precision
        self.main, self.beside = make_engine(MAIN, post), make_engine(BESIDE, post)
        self.beside.niceness = 15  # nobody waits for it
        self.run_data, self.journal = RunData(), Journal()
        self.survey: Surveyed | None = None
        self.stage, self.since = Stage.STARTING, time.monotonic()
        self.early = False
        """Whether the run's encoder answers while the language model is loaded."""
        self.problem: tuple[str, str] = ("", "")
        self.detail = ""
        self.beside_opened: Opened | None = None
        self.beside_ready = False
        self.beside_run: str | None = None
        self.beside_since, self.beside_detail = self.since, ""
        self.milliseconds: float | None = None
        self.quick: Estimated | None = None
        """What the quick training costs, asked where there is no run."""
        self._opening = self._quick = 0
        self._demo: str | None = None  # what stands in until there is a run
        self._warned: set[str] = set()

    # --- asking -----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Starts the main engine and asks what is on this machine."""
        self._enter(Stage.STARTING)
        self.run_data.complete = False
        await self.main.start()
        self.ask_survey()

    async def stop(self) -> None:
        """Ends both engines."""
        await self.beside.stop()
        await self.main.stop()

    def ask_survey(self) -> None:
        """Asks what is on this machine."""
        self.main.ask(Survey, out=str(self.out), dataset=self.dataset)

    def fetch(self) -> None:
        """Fetches what is missing."""
        self._enter(Stage.FETCHING)
        run = self.record(self.run)
        self.main.ask(Fetch, dataset=run["dataset"] if run else self.dataset)

    def open(self, run: str | None) -> None:
        """Opens a run, or the sequence encoder where there is none."""
        self.run = run
        if self.missing:  # nothing is fetched but by a yes on the screen that F shows
            self._enter(Stage.MISSING)
            return
        self._enter(Stage.OPENING)
        self._opening = self.main.ask(Open, out=str(self.out), run=run, dataset=self.dataset, early=True)

    async def open_beside(self, run: str | None = None) -> None:
        """Opens a second run to compare with: the given one, or the natural counterpart."""
        chosen = run or self.counterpart()
        if chosen is None or (chosen == self.beside_run and self.beside.alive):
            return
        self.beside_run, self.beside_ready, self.beside_opened = chosen, False, None
        self.beside_since, self.beside_detail = time.monotonic(), ""
        await self.beside.start()
        self.beside.ask(Open, out=str(self.out), run=chosen, dataset=self.dataset)

    def counterpart(self) -> str | None:
        """The newest other run on the same cases whose method is LoRA where iLoRA is open, and vice versa."""
        mine = self.record(self.run)
        if mine is None or self.survey is None:
            return None
        wanted = record_of(mine["method"]).counterpart or preferred_methods()[0]
        return next(
            (
                str(run["path"])
                for run in self.survey.runs
                if run["method"] == wanted and run["samples_sha256"] == mine["samples_sha256"]
            ),
            None,
        )

    def record(self, run: str | None) -> RunListed | None:
        """What the survey says about a run."""
        runs = self.survey.runs if self.survey else []
        if run is None:
            return None
        wanted = Path(run).absolute()
        return next((found for found in runs if Path(found["path"]).absolute() == wanted), None)

    @property
    def missing(self) -> list[AssetListed]:
        """Datasets and models that are needed and not cached."""
        found = self.survey.assets if self.survey else []
        run = self.record(self.run) or self.record(self._newest())
        models = {asset["name"] for asset in found if asset["kind"] == "model"}
        needed = {run["dataset"], run["model"]} if run else {self.dataset, *models}
        return [asset for asset in found if not asset["cached"] and asset["name"] in needed]

    def missing_for(self, dataset: str, model: str) -> list[AssetListed]:
        """What a benchmark of this dataset and model has to fetch, as far as the survey knows it."""
        found = self.survey.assets if self.survey else []
        return [asset for asset in found if not asset["cached"] and asset["name"] in (dataset, model)]

    # --- hearing ----------------------------------------------------------------------------------------

    def hear(self, engine: str, event: Event) -> None:
        """Takes in an event."""
        self.journal.hear(SPEAKERS[engine], event)
        if engine == BESIDE:
            if isinstance(event, Opened):
                self.beside_opened = event
            elif isinstance(event, WarmedUp):
                self.beside_ready = True
            elif isinstance(event, StageStarted | StepLogged):
                self.beside_detail = _how_far(event)
            return
        match event:
            case Surveyed():
                self._surveyed(event)
            case Opened() | ItemsListed() | UsersListed() | GatesListed():
                self.run_data.take(event)
            case EncoderReady():
                self.early = self.run_data.complete = True
            case WarmedUp():
                self._enter(Stage.READY)
                if self.run is None and self.quick is None:
                    self._ask_quick()
            case Estimated() if event.request == self._quick:
                self.quick = event
            case Fetched():
                self.ask_survey()
            case Ranked():
                self.milliseconds = event.milliseconds
            case RequestFailed() if event.request == self._opening or self.stage is Stage.FETCHING:
                self._enter(Stage.FAILED)
                self.problem = (event.title, event.hint)
            case Fetching():
                of_total = f" of {size(event.total)}" if event.total else ""
                self.detail = f"{event.asset} {size(event.done)}{of_total}"
            case StageStarted() | StepLogged() if self.stage is Stage.OPENING:
                self.detail = _how_far(event)
            case Notice():
                self.detail = event.text

    def first_warning(self, event: Event) -> str:
        """The text of a warning that was not given before; nothing for all other events."""
        text = ""
        if isinstance(event, Surveyed) and event.problems:
            text = f"{plural(len(event.problems), 'run')} cannot be opened: {event.problems[0]}"
        elif isinstance(event, Notice) and event.level == "warning":
            text = event.text
        if text in self._warned:
            return ""
        self._warned.add(text)
        return text

    def _ask_quick(self) -> None:
        asked = {"preset": "quick", "dataset": self.dataset, "model": EMBEDDED, "seeds": 1}
        self._quick = self.main.ask(
            Estimate, methods=list(method_names(lambda method: method.ticked)), out=str(self.out), **asked
        )

    def offer(self) -> str:
        """What to do where there is no trained run yet; nothing where there is one."""
        opened = self.run_data.opened
        if opened is None or opened.run is not None:
            return ""
        time = f", {about(self.quick.minutes)} here" if self.quick else ""
        whose = f"No trained run yet: these are {method_name(opened.method)}'s rankings."
        return f"{whose}\n3 trains iLoRA and LoRA (quick{time})."

    def _surveyed(self, event: Surveyed) -> None:
        first = self.survey is None or self.stage is not Stage.READY
        self.survey = event
        shipped = [run for run in event.runs if run.get("demo") and record_of(run["method"]).has_gate]
        self._demo = next((str(run["path"]) for run in shipped), self._demo)
        standing_in = self.run in (None, self._demo)
        trained = standing_in and self._newest() not in (None, self.run)
        if not first and not trained:
            return
        if self.missing:
            self._enter(Stage.MISSING)
            return
        given = None if standing_in else self.run
        # Also a run outside the folder of runs.
        self.open(given if given and Path(given).is_dir() else self._newest())

    def _newest(self) -> str | None:
        """The newest iLoRA run; before there is one the demo, and where there is none any other run."""
        runs = [run for run in (self.survey.runs if self.survey else []) if run["dataset"] == self.dataset]
        demo_at = min(METHODS[name].opens for name in preferred_methods() if METHODS[name].has_gate) - 0.5
        # Stable: newest first within a method.
        runs.sort(key=lambda run: -(demo_at if run.get("demo") else record_of(run["method"]).opens))
        runs = [run for run in runs if not run.get("demo") or record_of(run["method"]).has_gate]
        return str(runs[0]["path"]) if runs else None

    def died(self, engine: str, last_words: str) -> None:
        """An engine ended by itself."""
        self.journal.add(SPEAKERS[engine], "stopped by itself")
        if engine == BESIDE:
            self.beside_ready, self.beside_opened, self.beside_run = False, None, None
            return
        words = [line for line in last_words.splitlines() if line.strip()]
        self._enter(Stage.DEAD)
        what = "the server is gone" if self.attached else "the engine stopped"
        self.problem = (what, words[-1] if words else "it left no message")

    def _enter(self, stage: Stage) -> None:
        self.stage, self.since, self.detail, self.early = stage, time.monotonic(), "", False

    # --- saying -----------------------------------------------------------------------------------------

    @property
    def answers(self) -> bool:
        """Whether the main engine answers questions about a history, if only by the run's encoder."""
        return self.stage is Stage.READY or self.early

    @property
    def busy(self) -> bool:
        """Whether the main engine is on its way to being ready."""
        return self.stage in (Stage.STARTING, Stage.OPENING, Stage.FETCHING)

    def status(self) -> str:
        """The engine in one line."""
        waited = time.monotonic() - self.since
        if self.busy:
            return f"◌ {self.detail or self.stage.value} · {waited:.0f} s"
        if self.stage is Stage.READY:
            return "● " + self.name()
        if self.stage is Stage.MISSING:
            return "○ nothing fetched: F"
        if self.attached and self.stage is Stage.DEAD:
            return "✕ the server is gone: ctrl+r connects"
        return f"✕ {self.stage.value}: ctrl+r restarts"

    def name(self) -> str:
        """The opened run in a few words."""
        opened = self.run_data.opened
        if opened is None:
            return "no run"
        took = f" · {self.milliseconds:.0f} ms" if self.milliseconds is not None else ""
        record = self.record(opened.run)
        demo = " demo" if record and record["demo"] else ""
        where = f" · {self.attached.partition('//')[2]}" if self.attached else ""
        return f"{method_name(opened.method)}{demo}{took} · {opened.title}{where}"

    def beside_waiting(self) -> str:
        """What is said in the second run's place until it ranks: what goes on, how far, for how long."""
        if self.beside_run is None:
            return "No second run on these cases.\nb chooses one, 3 trains one."
        if self.beside_ready:
            return "ranking …"
        waited = time.monotonic() - self.beside_since
        return f"loading the second model … {waited:.0f} s\n{self.beside_detail}".rstrip()

    def invitation(self) -> str:
        """What an empty pane says: what goes on, and the key that fills it."""
        if self.busy:
            return f"{self.stage.value} …\n{self.detail}"
        if self.stage is Stage.MISSING:
            return "Nothing is fetched yet.\nPress F to see what will be fetched."
        if self.stage in (Stage.FAILED, Stage.DEAD):
            again = "connect" if self.attached else "start the engine"
            return f"{self.problem[0]}\n{self.problem[1]}\nPress ctrl+r to {again} again."
        return ""


def _how_far(event: StageStarted | StepLogged) -> str:
    """What is being done, for which method, and how much of it."""
    step = event.step if isinstance(event, StepLogged) else 0
    done = stage_steps(event.stage, step, event.total) if step or event.total else ""
    return " ".join(filter(None, (stage_name(event.stage), method_name(event.method), done)))


def not_here(attached: str, what: str, command: str) -> str:
    """Why a screen on a server's run does not do this; nothing where engines are children."""
    return f"Attached to {attached}: {what} where the server runs ({command})." if attached else ""


def about(minutes: float) -> str:
    """An estimate as people say it: nobody knows the seconds of a quarter of an hour."""
    return f"about {duration(60 * (minutes if minutes < 5 else round(minutes))).removesuffix(' 00s')}"
