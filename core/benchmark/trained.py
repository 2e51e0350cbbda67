"""The trained runs that controls and students ask: there before anything starts, opened once per seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.benchmark.out_folder import known_result
from core.data.types import Dataset, Samples
from core.errors import InputError
from core.events import Emit, ShouldStop
from core.hardware import release_memory
from core.methods import METHODS, MethodSeed
from core.recommenders.base import Recommender
from core.results.format import Result
from core.results.naming import RunKey
from core.runs.store import load_run, read_run, run_folder
from core.training import parallel


class Trained:
    """Opens what controls ask, and keeps one at a time.

    Args:
        out: the output folder.
        keys: what each run of the benchmark is called.
        dataset: loaded already.
        samples: its cases.
        emit: receives progress.
        should_stop: asked while a model is loaded.
        teacher: the run folder that a student learns from.
    """

    def __init__(
        self,
        out: Path,
        keys: Mapping[MethodSeed, RunKey],
        dataset: Dataset,
        samples: Samples,
        emit: Emit,
        should_stop: ShouldStop,
        teacher: Path | None = None,
    ) -> None:
        self.teacher = teacher
        self.out, self.keys, self.dataset, self.samples = out, keys, dataset, samples
        self.emit, self.should_stop = emit, should_stop
        self._held: tuple[MethodSeed, Recommender] | None = None

    def needed(self, run: MethodSeed) -> bool:
        """Whether a control that has no result yet asks this run's model, which must be there then."""
        method, seed = run
        asking = (other for other in self.keys if METHODS[other[0]].control_of == method and other[1] == seed)
        return any(
            known_result(self.out, self.keys[other], self.samples.sha256, False) is None for other in asking
        )

    def check(self, known: Mapping[MethodSeed, Result | None]) -> None:
        """Raises `InputError` where a control asks what was not trained before and is not trained here."""
        for (method, seed), result in known.items():
            base = METHODS[method].control_of
            if result is not None or not base or (base, seed) in known or self._folder(method, seed).is_dir():
                continue
            raise InputError(
                f"{method} asks a trained {base}, and there is none with these settings (seed {seed})",
                f"name it too: --methods {base},{method}",
            )

    def asked_by(self, run: MethodSeed, precision: str) -> Recommender | None:
        """The trained method that a control or a student asks; None for others, and then nothing is kept.

        Raises:
            ResultError, ModelError: the run is damaged or of other cases.
            Interrupted: `should_stop` said so.
        """
        method, seed = run
        base = METHODS[method].control_of
        if base and self._held is not None and self._held[0] == (base, seed):
            return self._held[1]
        self._held = None
        release_memory()
        if METHODS[method].is_student and self.teacher is not None:
            folder = self.teacher
        elif base:
            folder = self._folder(method, seed)
        else:
            return None
        with parallel.main_first_if_whole():
            info = read_run(folder)
            opened = load_run(info, self.dataset, self.samples, self.emit, precision, self.should_stop)
        self._held = ((base, seed), opened) if base else None
        return opened

    def _folder(self, control: str, seed: int) -> Path:
        """Where the run lies that a control asks: it is called as the control is, but for the method."""
        key = self.keys[control, seed]._replace(method=METHODS[control].control_of)
        return run_folder(self.out, *key)
