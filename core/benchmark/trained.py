"""The trained runs that a benchmark's controls ask: there before anything starts, opened once per seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from core.data.types import Dataset, Samples
from core.errors import InputError
from core.events import Emit, ShouldStop
from core.hardware import release_memory
from core.methods import METHODS
from core.recommenders.base import Recommender
from core.results.format import Result
from core.runs.store import load_run, read_run
from core.training import parallel

Job = tuple[str, int]
"""Method and training seed."""
Folder = Callable[[str, int], Path]
"""Where the run of a method and seed lies, under the settings of this benchmark."""


def with_models(known: Mapping[Job, Result | None], folder: Folder) -> dict[Job, Result | None]:
    """The finished results; one whose model a control asks and that has none any more counts as unfinished.

    Raises:
        InputError: a control asks a method that is not run here and was not run before.
    """
    found = dict(known)
    for (method, seed), result in known.items():
        base = METHODS[method].control_of
        if result is not None or not base or folder(base, seed).is_dir():
            continue
        if (base, seed) not in known:
            raise InputError(
                f"{method} asks a trained {base}, and there is none with these settings (seed {seed})",
                f"name it too: --methods {base},{method}",
            )
        found[base, seed] = None
    return found


class Trained:
    """Opens what controls ask, and keeps one at a time."""

    def __init__(
        self, folder: Folder, dataset: Dataset, samples: Samples, emit: Emit, should_stop: ShouldStop
    ) -> None:
        self.folder, self.dataset, self.samples = folder, dataset, samples
        self.emit, self.should_stop = emit, should_stop
        self._held: tuple[Job, Recommender] | None = None

    def asked_by(self, method: str, seed: int, precision: str) -> Recommender | None:
        """The trained method that a control asks; None for every other method, and then nothing is kept.

        Raises:
            ResultError, ModelError: the run is damaged or of other cases.
            Interrupted: `should_stop` said so.
        """
        base = METHODS[method].control_of
        if self._held is not None and self._held[0] == (base, seed):
            return self._held[1]
        self._held = None
        release_memory()
        if not base:
            return None
        with parallel.main_first_if_whole():
            info = read_run(self.folder(base, seed))
            opened = load_run(info, self.dataset, self.samples, self.emit, precision, self.should_stop)
        self._held = (base, seed), opened
        return opened
