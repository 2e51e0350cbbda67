"""Runs whose training curves are laid over each other: which, what of them, and how. No widgets here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.methods import record_of
from core.serving.protocol import CurveListed, RunListed
from ilora_app.tui.state.progress import Progress

Point = tuple[float, float]
LOSS = "training loss"
SMOOTHINGS = (0.0, 0.6, 0.9)
"""How much of a smoothed point the points before it make up."""
HIGHEST_FIRST = ("HR@1", "HR@5", "NDCG@10", "MRR")
LIVE = "now"
"""Begins the key of a training that is not on disk yet."""


@dataclass
class Learner:
    """One run, or one method of the training at work, with all its curves."""

    key: str
    """The run's folder; `now METHOD SEED` while it is being trained."""
    method: str
    seed: int
    about: str
    """What tells it from others of its method."""
    sign: int = 0
    """Which mark and colour are its own, as long as the program runs."""
    figures: dict[str, list[Point]] = field(default_factory=dict)
    """Figure -> points over optimizer steps."""

    @property
    def label(self) -> str:
        """Method and seed."""
        return f"{record_of(self.method).label} · seed {self.seed}"

    @property
    def live(self) -> bool:
        """Whether it is being trained."""
        return self.key.startswith(LIVE)

    @property
    def steps(self) -> float:
        """Its last known optimizer step."""
        return max((points[-1][0] for points in self.figures.values() if points), default=0.0)

    def best(self, figure: str) -> float | None:
        """The best value: of a loss the lowest, of a metric the highest."""
        values = [value for _, value in self.figures.get(figure, [])]
        return None if not values else min(values) if figure == LOSS else max(values)


@dataclass
class CurvesState:
    """Everything that the screen of curves shows."""

    learners: list[Learner] = field(default_factory=list)
    """The training at work first, then runs on disk, the newest first."""
    shown: set[str] = field(default_factory=set)
    """Keys of those whose curves are drawn."""
    figure: str = "HR@1"
    log: bool = False
    smoothing: float = 0.0
    by_share: bool = False
    """Whether the horizontal axis is the share of each training instead of its steps."""
    _signs: dict[str, int] = field(default_factory=dict)
    _listed: bool = False
    _points: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    # --- what there is ----------------------------------------------------------------------------------

    def take_runs(self, runs: Sequence[RunListed], dataset: str) -> list[str]:
        """The runs on disk; gives those whose curves are not known yet.

        At first the newest run of each method on this dataset is shown; later, runs that are new.
        """
        live = [learner for learner in self.learners if learner.live]
        known = {learner.key for learner in self.learners}
        trained = [run for run in runs if record_of(run["method"]).trains]
        for run in sorted(trained, key=lambda run: run["created"]):
            self._sign(str(run["path"]), run["method"], run["seed"])
        found = [self._learner(run) for run in trained]
        newest = {run["method"]: str(run["path"]) for run in reversed(trained) if run["dataset"] == dataset}
        new = {learner.key for learner in found} - known if self._listed else set(newest.values())
        self.shown |= new
        self._listed = self._listed or bool(found)
        self.learners = [*live, *found]
        self.shown &= {learner.key for learner in self.learners}
        return [learner.key for learner in found if learner.key not in self._points]

    def take_curves(self, curves: Sequence[CurveListed]) -> None:
        """How runs learnt."""
        for curve in curves:
            self._points[curve["run"]] = curve["points"]
        for learner in self.learners:
            if learner.key in self._points:
                learner.figures = figures_of(self._points[learner.key])

    def take_progress(self, progress: Progress) -> None:
        """The training at work; a method that is done has its run on disk."""
        done = {(event.method, event.seed) for event in progress.done}
        live = []
        for (method, seed), curve in progress.curves.items():
            if (method, seed) in done or not (curve.losses or curve.metrics):
                continue
            key = f"{LIVE} {method} {seed}"
            figures = {name: _points_of(points) for name, points in curve.metrics.items()}
            if curve.losses:
                figures[LOSS] = _points_of(curve.losses)
            live.append(Learner(key, method, seed, "being trained", self._sign(key), figures))
        known = {learner.key for learner in self.learners}
        self.shown |= {learner.key for learner in live} - known
        self.learners = [*live, *(learner for learner in self.learners if not learner.live)]
        self.shown &= {learner.key for learner in self.learners}

    def _learner(self, run: RunListed) -> Learner:
        key, tail = str(run["path"]), str(run["path"]).rsplit(".", 1)[-1][:8]
        about = f"{'demo' if run['demo'] else tail} · {run['dataset']} · {run['created'][:10]}"
        points = figures_of(self._points.get(key, []))
        return Learner(key, run["method"], run["seed"], about, self._signs[key], points)

    def _sign(self, key: str, method: str = "", seed: int = 0) -> int:
        """The next free sign, kept for good; a run takes over that of the training that made it."""
        if key not in self._signs:
            training = f"{LIVE} {method} {seed}"
            taken = self._signs.pop(training, None) if method else None
            self._signs[key] = len(self._signs) if taken is None else taken
        return self._signs[key]

    # --- what is shown of it ----------------------------------------------------------------------------

    def toggle(self, key: str) -> None:
        """Draws a run's curve, or leaves it out."""
        self.shown ^= {key}

    def figures(self) -> list[str]:
        """What can be drawn: metrics on validation cases, and the loss."""
        known = {name for learner in self.learners for name in learner.figures}
        first = [name for name in HIGHEST_FIRST if name in known]
        rest = sorted(known - {*first, LOSS})
        return [*first, *rest, *([LOSS] if LOSS in known else [])] or [self.figure]

    def next_figure(self) -> None:
        """The next figure there is."""
        names = self.figures()
        self.figure = names[(names.index(self.figure) + 1) % len(names)] if self.figure in names else names[0]

    def next_smoothing(self) -> None:
        """None, some, much."""
        at = SMOOTHINGS.index(self.smoothing)
        self.smoothing = SMOOTHINGS[(at + 1) % len(SMOOTHINGS)]

    def lines(self) -> list[tuple[Learner, list[Point]]]:
        """The runs that are drawn, each with its points as the axes want them."""
        found = []
        for learner in self.learners:
            points = learner.figures.get(self.figure, [])
            if learner.key in self.shown and points:
                found.append((learner, self._drawn(points, learner.steps)))
        return [(learner, points) for learner, points in found if points]

    def _drawn(self, points: Sequence[Point], steps: float) -> list[Point]:
        whole = 100 / steps if self.by_share and steps else 1.0
        values = smoothed([value for _, value in points], self.smoothing)
        pairs = [(step * whole, value) for (step, _), value in zip(points, values, strict=True)]
        if self.log:
            return [(x, math.log10(value)) for x, value in pairs if value > 0]
        return pairs

    def title(self) -> str:
        """What is drawn, in words."""
        figure = self.figure if self.figure == LOSS else f"validation {self.figure}"
        over = "percent of the training" if self.by_share else "optimizer steps"
        how = [f"{figure} over {over}"]
        how += ["log scale"] if self.log else []
        how += [f"smoothed {self.smoothing:g}"] if self.smoothing else []
        return " · ".join(how)


def figures_of(points: Sequence[Mapping[str, float]]) -> dict[str, list[Point]]:
    """Figure -> points, from the validations that a result file tells of."""
    found: dict[str, list[Point]] = {}
    for point in points:
        for name, value in point.items():
            if name != "step" and math.isfinite(value):
                found.setdefault(LOSS if name == "loss" else name, []).append((point["step"], value))
    return found


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """The exponential moving average, corrected for its start, as TensorBoard smooths curves."""
    mean, found = 0.0, []
    for at, value in enumerate(values, start=1):
        mean = weight * mean + (1 - weight) * value
        found.append(mean / (1 - weight**at))
    return found


def _points_of(points: Sequence[tuple[int, float]]) -> list[Point]:
    return [(float(step), value) for step, value in points if math.isfinite(value)]
