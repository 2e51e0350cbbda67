"""What was left open: the run that somebody means (by folder, by name, the newest), and the preset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ilora_app.cli.saying import say

if TYPE_CHECKING:
    from core.config.settings import RunConfig
    from core.methods import MethodSeed
    from core.runs.store import RunInfo

DEFAULT_OUT = Path("runs")
"""Where runs go unless somebody says otherwise; only there does the demo stand in for the first one."""


def choose_run(name: str | Path | None, out: Path) -> RunInfo:
    """The run of this path or name (any part of it that only one run has), the demo, or the newest one.

    Raises:
        ResultError: there is no such run, or several, or its folder cannot be read.
    """
    from core.errors import ResultError
    from core.runs.demo import demo_run
    from core.runs.store import read_run

    if name is None:
        return newest_run(out)
    if Path(name).exists():
        return read_run(Path(name))
    if (shipped := demo_run(str(name))) is not None:
        return read_run(shipped)
    runs = readable_runs(out)
    found = [run for run in runs if run.path.name == str(name)] or [
        run for run in runs if str(name) in run.path.name
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise ResultError(
            f"{len(found)} runs are called {name}", f"such as {found[0].path.name} and {found[1].path.name}"
        )
    raise ResultError(
        f"no run {name}, neither as a folder nor in {out}", f"ilora-app runs --out {out} lists them"
    )


def newest_run(out: Path) -> RunInfo:
    """The newest run of iLoRA; where there is none, of LoRA, then of SASRec; before the first one, the demo.

    Raises:
        ResultError: there is none of them.
    """
    from core.errors import ResultError
    from core.methods import preferred_methods
    from core.runs.demo import DEMO
    from core.runs.store import read_run

    runs = readable_runs(out)
    for method in preferred_methods():
        for run in runs:
            if run.method == method:
                return run
    if out == DEFAULT_OUT and not runs:
        say(f"no run in {out} yet: the demo adapter, which comes with the program, answers", err=True)
        return read_run(DEMO)
    raise ResultError(f"no trained run in {out}", f"ilora-app train --out {out} makes one")


def readable_runs(out: Path) -> list[RunInfo]:
    """All runs below the output folder, newest first; those that cannot be read are named on stderr."""
    from core.runs.store import list_runs

    runs, problems = list_runs(out)
    for problem in problems:
        say(f"left out: {problem}", err=True)
    return runs


def choose_preset(
    name: str, configs: Callable[[str], Sequence[RunConfig]], runs: Sequence[MethodSeed], out: Path
) -> tuple[str, str]:
    """The preset to use, and what to say about it where this machine's speed chose.

    Args:
        name: of a preset, or auto.
        configs: gives all settings to be run under a preset.
        runs: the (method, seed) pairs to be run under each of them.
        out: the folder of the results, where a choice is kept.

    Raises:
        InputError: there is no such preset, or what the settings name cannot be used.
    """
    from core.config.checks import check_choice
    from core.config.presets import PRESETS

    check_choice(name, PRESETS, "preset")
    configs("quick" if name == "auto" else name)  # refused before anything that takes seconds to import
    if name != "auto":
        return name, ""
    from core.benchmark.choosing import choose
    from core.training import parallel
    from ilora_app.render.downloads import Downloads

    if parallel.announced() > 1:  # each would time another speed, and all must choose alike
        import torch

        chosen = "standard" if torch.cuda.is_available() else "quick"
        return chosen, f"{parallel.announced()} processes: preset {chosen}"
    with Downloads() as downloads:
        found = choose(configs, runs, out, downloads)
    return found.preset, found.why
