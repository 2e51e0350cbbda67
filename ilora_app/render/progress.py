"""Shows a benchmark while it runs, on stderr: a live view in a terminal, sparse lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table as Grid
from rich.text import Text

from core.events import (
    Evaluated,
    Event,
    Fetching,
    Finished,
    MethodFinished,
    Notice,
    PlanMade,
    StageStarted,
    StepLogged,
    Stopped,
    TimeLeft,
)
from core.run_time import run_seconds
from ilora_app.render import figures
from ilora_app.render.console import SafeConsole

QUIET_SECONDS = 10.0
"""Without a terminal, at least this long between two lines of the same stage."""


@dataclass
class Work:
    """What one method is doing, as the latest events have it."""

    method: str
    seed: int
    stage: str = ""
    step: int = 0
    total: int = 0
    loss: float | None = None
    samples_per_second: float | None = None
    seconds_left: float | None = None
    gate: list[float] | None = None
    validated: str = ""
    """The latest validation, in words."""

    def enter(self, event: StageStarted) -> None:
        """A stage begins."""
        self.stage, self.step, self.total = event.stage, 0, event.total
        self.samples_per_second = self.seconds_left = None

    def advance(self, event: StepLogged) -> None:
        """A stage goes on."""
        self.stage, self.step, self.total = event.stage, event.step, event.total
        self.samples_per_second, self.seconds_left = event.samples_per_second, event.seconds_left
        self.loss = self.loss if event.loss is None else event.loss
        self.gate = event.gate or self.gate

    def figures(self) -> list[str]:
        """Everything known beyond the step, each with its unit."""
        known = []
        if self.loss is not None:
            known.append(f"loss {self.loss:.3f}")
        if self.samples_per_second:
            known.append(f"{figures.rate(self.samples_per_second)} samples/s")
        if self.seconds_left is not None:
            known.append(f"{figures.duration(self.seconds_left)} left")
        return known + ([self.validated] if self.validated else [])


class ProgressView:
    """An `Emit` that shows what the engine says; use it as a context manager.

    In a terminal: the plan, one line per finished method, and below them what happens now. Elsewhere:
    plain lines, at most one in ten seconds for each stage. A `Failed` event is left to the command
    line's one exit door.

    Args:
        console: where to draw; stderr if not given. One that was made with `file=sys.stderr` goes on drawing
            while a library's own words are kept from stderr.
        clock: seconds that only grow.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = run_seconds) -> None:
        self.console = console or SafeConsole(file=sys.stderr)
        self._clock = clock
        self._started = clock()
        self._method_started = self._started
        self._live: Live | None = None
        self._spinner = Spinner("dots")
        self._plan: PlanMade | None = None
        self._work: Work | None = None
        self._fetching: Fetching | None = None
        self._finished = 0
        self._left: float | None = None
        self._left_since = self._started
        self._said: dict[tuple[object, ...], float] = {}
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            Notice: self._on_notice,
            Fetching: self._on_fetching,
            PlanMade: self._on_plan,
            StageStarted: self._on_stage,
            StepLogged: self._on_step,
            Evaluated: self._on_evaluated,
            MethodFinished: self._on_method_finished,
            TimeLeft: self._on_time_left,
            Stopped: self._on_stopped,
            Finished: self._on_finished,
        }

    def __enter__(self) -> ProgressView:
        if self.console.is_interactive:
            self._live = Live(
                get_renderable=self._now,
                console=self.console,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, event: Event) -> None:
        """Takes in one event; kinds it does not know are ignored."""
        if not isinstance(event, Fetching | Notice):
            self._fetching = None
        if handler := self._handlers.get(type(event)):
            handler(event)

    # --- events -----------------------------------------------------------------------------------------

    def _on_notice(self, event: Notice) -> None:
        style = "yellow" if event.level == "warning" else ""
        self._say(Text(f"{event.level}: {event.text}", style=style))

    def _on_fetching(self, event: Fetching) -> None:
        self._fetching = None if event.total and event.done >= event.total else event
        size = f" ({figures.size(event.total)})" if event.total else ""
        self._whisper(
            ("fetch", event.asset, event.source), f"fetching {event.asset} from {event.source}{size}"
        )

    def _on_plan(self, event: PlanMade) -> None:
        self._plan = event
        facts = dict(_facts(event))
        if self._live is None:
            for name, fact in facts.items():
                self._say(Text(f"{name}: {fact}"))
            return
        grid = Grid.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        for name, fact in facts.items():
            grid.add_row(name, Text(fact))
        self._say(Panel(grid, title="Benchmark", title_align="left", border_style="dim"))

    def _on_stage(self, event: StageStarted) -> None:
        self._working_on(event.method, event.seed).enter(event)
        of_total = f" {figures.stage_steps(event.stage, 0, event.total)}" if event.total else ""
        self._whisper((event.method, event.seed, event.stage), f"{self._doing()}{of_total}{self._all_left()}")

    def _on_step(self, event: StepLogged) -> None:
        work = self._working_on(event.method, event.seed)
        work.advance(event)
        steps = figures.stage_steps(event.stage, event.step, event.total)
        line = " · ".join([f"{self._doing()} {steps}", *work.figures()])
        self._whisper((event.method, event.seed, event.stage), f"{line}{self._all_left()}")

    def _on_time_left(self, event: TimeLeft) -> None:
        self._left, self._left_since = event.seconds, self._clock()

    def _on_evaluated(self, event: Evaluated) -> None:
        work = self._working_on(event.method, event.seed)
        if "HR@1" not in event.metrics:
            return
        found = f"{event.set} HR@1 {figures.share(event.metrics['HR@1'])} (n {event.n})"
        if event.set == "validation":
            work.validated = found
        self._whisper((event.method, event.seed, "evaluated", event.set), f"{self._who()}: {found}")

    def _on_method_finished(self, event: MethodFinished) -> None:
        self._finished += 1
        took = "on disk already" if event.reused else figures.duration(self._clock() - self._method_started)
        sizes = self._plan.cases if self._plan else {}
        found = []
        for test_set, metrics in event.metrics.items():
            if "HR@1" in metrics:
                known = [figures.share(metrics["HR@1"]), self._interval(event, test_set), test_set]
                cases = f" (n {sizes[test_set]})" if test_set in sizes else ""
                found.append(" ".join(filter(None, known)) + cases)
        line = Text("done ", style="green").append(self._named(event.method, event.seed), style="bold")
        self._say(
            line.append(f": HR@1 {', '.join(found)}, {took}" if found else f": {took}", style="not bold")
        )
        self._work = None
        self._method_started = self._clock()

    def _on_stopped(self, event: Stopped) -> None:
        stage = figures.stage_name(event.stage)
        where = f"{self._named(event.method, event.seed)}, {stage}, step {event.step}"
        self._say(Text(f"stopped: {where}; the same command goes on from there"))

    def _on_finished(self, event: Finished) -> None:
        self._work = self._left = None
        if self._live is not None:
            self._live.refresh()  # or the old time would be drawn once more below the line
        self._say(Text(f"finished in {figures.duration(event.seconds)}"))

    # --- saying -----------------------------------------------------------------------------------------

    def _say(self, what: RenderableType) -> None:
        """Prints something that stays; the live view is drawn below it."""
        plain = self._live is None
        self.console.print(what, soft_wrap=plain and isinstance(what, Text))

    def _whisper(self, key: tuple[object, ...], line: str) -> None:
        """Prints a passing line where nothing is live, unless the same stage spoke a moment ago."""
        now = self._clock()
        if self._live is None and now - self._said.get(key, -QUIET_SECONDS) >= QUIET_SECONDS:
            self._said[key] = now
            self._say(Text(line))

    def _working_on(self, method: str, seed: int) -> Work:
        """The state of this method and seed; another one starts afresh."""
        if self._work is None or (self._work.method, self._work.seed) != (method, seed):
            self._work = Work(method, seed)
        return self._work

    def _named(self, method: str, seed: int) -> str:
        several = bool(method) and (self._plan is None or len(self._plan.seeds) > 1)
        return figures.method_name(method) + (f" seed {seed}" if several else "")

    def _who(self) -> str:
        return self._named(self._work.method, self._work.seed) if self._work else ""

    def _doing(self) -> str:
        """Who does what."""
        stage = figures.stage_name(self._work.stage) if self._work else ""
        return ": ".join(filter(None, [self._who(), stage]))

    def _all_left(self) -> str:
        """The time that all of the benchmark still takes; it goes by where nothing is said for a while."""
        if self._left is None:
            return ""
        left = max(0.0, self._left - (self._clock() - self._left_since))
        return f" · all of it: about {figures.duration(left)} left"

    @staticmethod
    def _interval(event: MethodFinished, test_set: str) -> str:
        return figures.interval(*event.intervals[test_set]) if test_set in event.intervals else ""

    # --- the live view ----------------------------------------------------------------------------------

    def _now(self) -> RenderableType:
        """What happens at this moment; drawn anew several times a second."""
        lines: list[RenderableType] = []
        if self._fetching is not None:
            event = self._fetching
            of_total = f" of {figures.size(event.total)}" if event.total else ""
            text = f"fetching {event.asset} from {event.source}"
            lines.append(self._bar(text, event.done, event.total, figures.size(event.done) + of_total))
        elif self._work is not None:
            work = self._work
            steps = figures.stage_steps(work.stage, work.step, work.total)
            lines.append(self._bar(self._doing(), work.step, work.total, steps))
            if known := work.figures():
                lines.append(Text("  " + " · ".join(known)))
            if work.gate:
                weights = " ".join(figures.share(weight, 2) for weight in work.gate)
                lines.append(Text(f"  mean weight of the {len(work.gate)} experts: {weights}"))
        if self._plan is not None:
            total = len(self._plan.methods) * len(self._plan.seeds)
            elapsed = figures.duration(self._clock() - self._started)
            foot = f"  {self._finished} of {total} runs done · {elapsed} elapsed{self._all_left()}"
            lines.append(Text(f"{foot} · Ctrl-C stops, run again to go on", style="dim"))
        return Group(*lines)

    def _bar(self, text: str, done: int, total: int, right: str) -> Grid:
        grid = Grid.grid(padding=(0, 1), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=3)
        grid.add_column(ratio=2)
        grid.add_column(no_wrap=True, justify="right")
        bar = ProgressBar(total=total, completed=done) if total else Text()
        grid.add_row(self._spinner, Text(text, style="bold"), bar, Text(right))
        return grid


def _facts(plan: PlanMade) -> Iterator[tuple[str, str]]:
    """The plan, line by line."""
    yield "dataset", f"{plan.dataset}, {plan.split} split, samples {plan.samples_sha256[:8]}"
    yield "cases", ", ".join(f"{n:,} {test_set}" for test_set, n in plan.cases.items())
    yield "methods", ", ".join(figures.method_name(method) for method in plan.methods)
    yield "seeds", ", ".join(map(str, plan.seeds))
    model, training = plan.config.get("model", {}), plan.config.get("training", {})
    if isinstance(model, dict) and "name" in model:
        yield "model", ", ".join(str(model[key]) for key in ("name", "quantize", "precision") if key in model)
    if isinstance(training, dict) and "samples" in training:
        asked = f"{training.get('objective', '')}, {training['samples']:,} samples".lstrip(", ")
        yield "training", f"{asked}, a token for each item" if training.get("item_tokens") else asked
    minutes = f"about {max(1, round(plan.minutes))} min" if plan.minutes else "none: all is on disk already"
    yield "preset", f"{plan.preset}; time on this machine: {minutes}"
