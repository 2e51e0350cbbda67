"""`bench --start-from FOLDER`: the trained adapters of another benchmark from which these ones start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from core.config.checks import sha256_of
from core.config.settings import RunConfig
from core.errors import InputError, ResultError
from core.ilora.model import ADAPTER_FILE
from core.methods import METHODS, MethodSeed
from core.runs.store import RunInfo, check_files, list_runs


def starts_in(folder: Path, runs: Sequence[MethodSeed]) -> dict[MethodSeed, RunInfo]:
    """The trained run that each run starts from: the one there of the same method and seed.

    Args:
        folder: an output folder of `bench`.
        runs: of which those that train an adapter start from one.

    Raises:
        InputError: there is none for a run, or several.
        ResultError: it is no folder, or a run is damaged.
    """
    if not folder.is_dir():
        raise ResultError(f"{folder} is no folder", "name the --out of an earlier benchmark")
    there, _ = list_runs(folder)
    found: dict[MethodSeed, RunInfo] = {}
    for method, seed in runs:
        if "training" not in METHODS[method].reads or METHODS[method].control_of:
            continue
        own = [info for info in there if (info.method, info.seed) == (method, seed)]
        if len(own) != 1:
            kind = f"{len(own)} trained runs" if own else "no trained run"
            raise InputError(
                f"{folder} has {kind} of {method}, seed {seed}, to start from",
                f"bench --methods {method} --seeds {seed + 1} --out DIR makes one in a folder of its own",
            )
        check_files(own[0])
        found[method, seed] = own[0]
    if not found:
        raise InputError("none of these methods trains an adapter", "name one: --methods lora,ilora")
    return found


def starting(config: RunConfig, starts: Mapping[MethodSeed, RunInfo]) -> RunConfig:
    """The settings of a benchmark that starts there, which name datasets and a checksum of weights."""
    datasets = sorted({info.dataset for info in starts.values()})
    weights = sorted(info.files.get(ADAPTER_FILE, info.path.name) for info in starts.values())
    start = f"{' and '.join(datasets)} ({sha256_of(weights)[:8]})"
    return replace(config, training=replace(config.training, start=start))
