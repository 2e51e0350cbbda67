"""The preset that `auto` stands for: the larger one, where this machine is through with it soon enough.

The choice is kept in the output folder, so that a stopped benchmark goes on with the very same settings
although the machine is timed anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.benchmark import estimates
from core.benchmark.costs import total, untrained
from core.benchmark.out_folder import prepare_out
from core.benchmark.reused import twenty_of
from core.config.checks import sha256_of
from core.config.settings import DataConfig, RunConfig
from core.data.loading import load_task_data
from core.data.types import Dataset, Samples
from core.errors import DataError
from core.events import Emit, silent
from core.files import atomic_write
from core.hardware import describe
from core.methods import MethodSeed
from core.records import json_of, read_text

SOON = 20.0
"""Minutes: `standard` is taken where all runs together need no more."""
Load = Callable[[DataConfig, Emit], tuple[Dataset, Samples]]
SMALLER, LARGER = "quick", "standard"


@dataclass(frozen=True)
class Choice:
    """A preset, and why it was taken."""

    preset: str
    why: str


def choose(
    configs: Callable[[str], Sequence[RunConfig]],
    runs: Sequence[MethodSeed],
    out: Path | None = None,
    emit: Emit = silent,
    load: Load = load_task_data,
) -> Choice:
    """The preset for these runs on this machine, by how long they would take under it.

    Args:
        configs: gives all settings to be run under a preset.
        runs: what is run under each of them.
        out: where the choice is kept, and found when the same is asked again; nowhere if not given.
        emit: receives the progress of fetching data.
        load: gives a dataset and its cases.

    Raises:
        InputError, AssetError, DataError, ModelError: what the settings name cannot be used.
        ResultError: the output folder cannot be written.
    """
    if out is not None:
        prepare_out(out)
    larger = configs(LARGER)
    key = sha256_of([[config.to_dict() for config in larger], [list(run) for run in runs]])
    path = out / "work" / "presets" / f"{key[:12]}.json" if out is not None else None
    if path is not None and (kept := _kept(path)) is not None:
        return kept
    long = _minutes(larger, runs, emit, load)
    if long <= SOON:
        found = Choice(LARGER, f"preset {LARGER}, for it takes {_about(long)} here ({describe()})")
    else:
        short = _minutes(configs(SMALLER), runs, emit, load)
        why = f"{_about(short)}; {LARGER} would take {_about(long)} here ({describe()})"
        found = Choice(SMALLER, f"preset {SMALLER}, {why}")
    if path is not None:
        atomic_write(path, json.dumps({"preset": found.preset, "why": found.why}) + "\n")
    return found


def _minutes(configs: Sequence[RunConfig], runs: Sequence[MethodSeed], emit: Emit, load: Load) -> float:
    """What all of them take; whatever is trained for twenty candidates ranks the whole catalogue as it is."""
    twenty = [config for config in configs if not config.data.whole]
    seconds = 0.0
    for config in configs:
        found = estimates.stages(config, runs, *load(config.data, emit))
        trained = config.data.whole and twenty_of(config) in twenty
        seconds += total(map(untrained, found) if trained else found)
    return seconds / 60


def _about(minutes: float) -> str:
    return "less than a minute" if minutes < 1 else f"about {minutes:,.0f} min"


def _kept(path: Path) -> Choice | None:
    """The choice on disk; None where there is none that this version understands."""
    try:
        record = json_of(read_text(path), path.name)
        preset, why = record["preset"], record["why"]
    except (DataError, KeyError, TypeError):
        return None
    return Choice(preset, f"{why}; chosen before") if preset in (SMALLER, LARGER) else None
