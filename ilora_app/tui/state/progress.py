"""What a benchmark has said so far, as figures and curves. No widgets here."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.events import (
    Evaluated,
    Event,
    Failed,
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
from core.ilora.experts import one_sidedness
from ilora_app.render.figures import duration, method_name, rate, share, size, stage_name

LINES = 200


@dataclass
class Curve:
    """One method's training as it goes."""

    losses: list[tuple[int, float]] = field(default_factory=list)
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Metric -> its values on validation cases."""
    gates: list[list[float]] = field(default_factory=list)

    @property
    def validations(self) -> list[tuple[int, float]]:
        """HR@1 on validation cases."""
        return self.metrics.get("HR@1", [])

    @property
    def entropy(self) -> list[float]:
        """1 where all experts are used alike, 0 where only one is."""
        return [1 - side for side in one_sidedness(self.gates)]


@dataclass
class Progress:
    """Takes in events; screens read it."""

    plan: PlanMade | None = None
    method: str = ""
    seed: int = 0
    stage: str = ""
    step: int = 0
    total: int = 0
    samples_per_second: float | None = None
    seconds_left: float | None = None
    all_left: float | None = None
    """Seconds for everything that is left of the benchmark."""
    gpu_memory: int | None = None
    curves: dict[tuple[str, int], Curve] = field(default_factory=dict)
    done: list[MethodFinished] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """The newest lines."""
    count: int = 0
    """Lines ever said."""
    ending: str = ""
    """Why it ended; empty while it goes on."""

    @property
    def curve(self) -> Curve:
        """The curve of the method at work, or of the last one that was trained."""
        return self.curves.setdefault((self.method, self.seed), Curve())

    def take(self, event: Event) -> None:
        """Adds an event; kinds that say nothing about progress are passed over."""
        match event:
            case PlanMade():
                self.plan = event
                minutes = f"about {event.minutes:.0f} min" if event.minutes >= 1 else "little is left to do"
                self.say(f"plan: {', '.join(map(method_name, event.methods))}; {minutes}")
            case StageStarted():
                self._enter(event)
            case StepLogged():
                self._step(event)
            case Evaluated():
                self._evaluated(event)
            case TimeLeft():
                self.all_left = event.seconds
            case MethodFinished():
                self.done.append(event)
                found = [f"{share(of_set['HR@1'])} {name}" for name, of_set in event.metrics.items()]
                kept = " (on disk already)" if event.reused else ""
                self.say(f"done: {method_name(event.method)} HR@1 {', '.join(found)}{kept}")
            case Finished():
                self.all_left = None
                self.ending = f"finished in {duration(event.seconds)}"
                self.say(self.ending)
            case Stopped():
                self.ending = f"stopped at step {event.step} of {method_name(event.method)}; c goes on"
                self.say(self.ending)
            case Failed():
                self.ending = f"failed: {event.title}"
                self.say(f"{self.ending} – {event.hint}")
            case Fetching():
                self.stage, self.step, self.total = f"fetching {event.asset}", event.done, event.total
            case Notice():
                self.say(event.text)

    def _enter(self, event: StageStarted) -> None:
        self.method, self.seed, self.stage = event.method, event.seed, event.stage
        self.step, self.total = 0, event.total
        self.samples_per_second = self.seconds_left = None

    def _step(self, event: StepLogged) -> None:
        self.method, self.seed, self.stage = event.method, event.seed, event.stage
        self.step, self.total = event.step, event.total
        self.samples_per_second, self.seconds_left = event.samples_per_second, event.seconds_left
        self.gpu_memory = event.gpu_memory or self.gpu_memory
        if event.loss is not None:
            self.curve.losses.append((event.step, event.loss))
        if event.gate:
            self.curve.gates.append(event.gate)

    def _evaluated(self, event: Evaluated) -> None:
        if event.set == "validation" and event.step is not None:
            curve = self.curves.setdefault((event.method, event.seed), Curve())
            for name, value in event.metrics.items():
                curve.metrics.setdefault(name, []).append((event.step, value))
        if "HR@1" in event.metrics:
            who = method_name(event.method)
            self.say(f"{who}: {event.set} HR@1 {share(event.metrics['HR@1'])} (n {event.n})")

    def say(self, line: str) -> None:
        """Adds a line to the log."""
        self.said = [*self.said, line][-LINES:]
        self.count += 1

    def facts(self, memory: int, gpu: str = "") -> list[tuple[str, str]]:
        """Figures of this moment, each with its name; of a GPU where there is one."""
        finished = (
            f"{len(self.done)} of {len(self.plan.methods) * len(self.plan.seeds)}" if self.plan else "–"
        )
        steps = f"{self.step:,} of {self.total:,}" if self.total else str(self.step or "–")
        left = [duration(self.seconds_left)]
        left += [f"all {duration(self.all_left)}"] if self.all_left is not None else []
        found = [size(memory)] if memory else []
        found += [f"GPU {size(self.gpu_memory)}"] if self.gpu_memory else []
        facts = [
            (
                "method",
                f"{method_name(self.method)} · {stage_name(self.stage)}"
                if self.method
                else self.stage or "–",
            ),
            ("step", steps),
            ("speed", f"{rate(self.samples_per_second)} samples/s" if self.samples_per_second else "–"),
            ("left", " · ".join(left)),
            ("memory", " · ".join(found) or "–"),
            ("runs done", finished),
        ]
        return [*facts, ("gpu", gpu)] if gpu else facts
