"""Writes what the engine says as TensorBoard event files: curves of training, gate and metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import InputError
from core.events import Emit, Evaluated, Event, MethodFinished, PlanMade, SettingTried, StepLogged, silent
from core.methods import MethodSeed

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def check_board(folder: Path | None) -> None:
    """Raises `InputError` if event files are asked for and cannot be written."""
    if folder is None:
        return
    if find_spec("tensorboard") is None:
        raise InputError("--tensorboard needs the package tensorboard", "pip install tensorboard")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}", "choose another folder with --tensorboard"
        ) from error


@contextmanager
def board(folder: Path | None) -> Iterator[Emit]:
    """An `Emit` that writes into this folder while the block runs; without a folder it does nothing."""
    if folder is None:
        yield silent
        return
    made = TensorBoard(folder)
    try:
        yield made
    finally:
        made.close()


class TensorBoard:
    """An `Emit` with a folder of event files for each (dataset, method, seed), named as the result is.

    The step axis is that of training, which a stopped run continues. What an earlier session logged beyond
    its last checkpoint is hidden by what is trained anew.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._plan: PlanMade | None = None
        self._settings: dict[MethodSeed, str] = {}
        self._writers: dict[str, SummaryWriter] = {}

    def __call__(self, event: Event) -> None:
        """Takes in one event; kinds without a figure are ignored."""
        if isinstance(event, PlanMade):
            self._plan = event
            self._settings.clear()
        elif isinstance(event, SettingTried):
            self._settings[event.method, event.seed] = event.setting
        elif isinstance(event, StepLogged) and event.stage == "train":
            self._write((event.method, event.seed), step_figures(event), event.step)
        elif isinstance(event, Evaluated) and event.step is not None:
            figures = {f"{event.set}/{metric}": value for metric, value in event.metrics.items()}
            self._write((event.method, event.seed), figures, event.step)
        elif isinstance(event, MethodFinished):
            self._finish(event)

    def close(self) -> None:
        """Everything is on disk when this returns."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _write(self, run: MethodSeed, figures: dict[str, float], step: int) -> None:
        """Adds figures of a training; settings that are tried have folders of their own."""
        name, setting = self._name(run), self._settings.get(run, "")
        if setting:
            name += "/" + re.sub(r"[^\w.]+", "-", setting)
        self._add(name, figures, step, purge_step=step)

    def _finish(self, event: MethodFinished) -> None:
        """Adds the test metrics, at the last step of training; those of an older run only where none are."""
        name = self._name((event.method, event.seed))
        if event.reused and any((self.folder / name).glob("events.*")):
            return
        from core.results.store import load_result

        steps = [int(row["step"]) for row in load_result(Path(event.path)).history if "step" in row]
        figures = {
            f"test/{test_set}/{metric}": value
            for test_set, values in event.metrics.items()
            for metric, value in values.items()
        }
        self._add(name, figures, max(steps, default=0))

    def _add(self, name: str, figures: dict[str, float], step: int, **opening: Any) -> None:
        if name not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            self._writers[name] = SummaryWriter(str(self.folder / name), **opening)
        for tag, value in figures.items():
            self._writers[name].add_scalar(tag, value, step)

    def _name(self, run: MethodSeed) -> str:
        """The name of a run's result file, which tells apart whatever results are told apart by."""
        from core.benchmark.run import method_config
        from core.config.settings import RunConfig
        from core.methods import METHODS
        from core.results.checking import config_sha256
        from core.results.naming import RunKey

        plan, (method, seed) = self._plan, run
        assert plan is not None  # it comes before anything of a method does
        config = plan.tuned.get(METHODS[method].control_of or method, plan.config)
        sha = config_sha256(method_config(RunConfig.from_dict(config), method))
        return RunKey(plan.dataset, plan.split, method, seed, sha).name


def step_figures(event: StepLogged) -> dict[str, float]:
    """What a training step shows, by tag; figures that it does not have are left out."""
    found = {
        "train/loss": event.loss,
        "train/learning_rate": event.learning_rate,
        "train/samples_per_second": event.samples_per_second,
        "train/gpu_memory_bytes": event.gpu_memory,
    }
    if event.gate is not None:
        found |= {f"gate/expert_{number}": weight for number, weight in enumerate(event.gate, 1)}
        found["gate/entropy"] = entropy(event.gate)
    return {tag: float(value) for tag, value in found.items() if value is not None}


def entropy(weights: list[float]) -> float:
    """Entropy of the experts' mean weights in nats: ln K where all are used alike, 0 where one is."""
    return -sum(weight * math.log(weight) for weight in weights if weight > 0)
