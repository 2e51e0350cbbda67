"""Trained recommenders on disk: a run folder is complete or absent, and opens only if all of it fits."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config import DataConfig, RunConfig
from core.data import load_card, load_dataset, make_samples
from core.data.types import Dataset, Samples
from core.errors import InputError, ResultError
from core.events import Emit, silent
from core.files import atomic_path
from core.recommenders import method_class
from core.recommenders.base import Recommender, Task

FORMAT = 1
CARD = "run.json"
SAVED_METHODS = ("sasrec", "lora", "ilora")
"""Methods whose training is worth keeping."""


@dataclass(frozen=True)
class RunInfo:
    """What a run folder says about itself."""

    path: Path
    dataset: str
    split: str
    method: str
    seed: int
    config: RunConfig
    samples_sha256: str
    created: str
    metrics: dict[str, dict[str, float]]
    """Test set -> metric -> value, as in the result file."""


@dataclass(frozen=True)
class OpenRun:
    """A run ready to answer."""

    info: RunInfo
    dataset: Dataset
    samples: Samples
    recommender: Recommender


def run_folder(out: Path, dataset: str, split: str, method: str, seed: int, config_sha256: str) -> Path:
    """Where such a run lies below the output folder."""
    return out / "models" / f"{dataset}.{split}.{method}.seed{seed}.{config_sha256[:8]}"


def save_run(recommender: Recommender, task: Task, path: Path, created: str, metrics: dict[str, Any]) -> Path:
    """Writes a trained recommender whole; a folder of the same name is replaced."""
    if path.exists():
        shutil.rmtree(path)
    with atomic_path(path) as temporary:
        temporary.mkdir()
        recommender.save(temporary)
        card = {
            "format": FORMAT,
            "dataset": task.dataset.name,
            "split": task.samples.split,
            "method": recommender.name,
            "seed": task.seed,
            "config": task.config.to_dict(),
            "samples_sha256": task.samples.sha256,
            "created": created,
            "metrics": metrics,
        }
        (temporary / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return path


def read_run(path: Path) -> RunInfo:
    """What a run folder says about itself.

    Raises:
        ResultError: it is no run folder, damaged, or of another version.
    """
    hint = "give the path of a folder below runs/models, as the benchmark made it"
    try:
        card = json.loads((path / CARD).read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultError(f"{path} is not a run folder: no {CARD}", hint) from error
    except ValueError as error:
        raise ResultError(f"{path / CARD} is damaged: {error}", "run the benchmark again") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ResultError(f"{path} was made by another version of this program", "run the benchmark again")
    try:
        return RunInfo(
            path=path,
            dataset=card["dataset"],
            split=card["split"],
            method=card["method"],
            seed=card["seed"],
            config=RunConfig.from_dict(card["config"]),
            samples_sha256=card["samples_sha256"],
            created=card["created"],
            metrics=card["metrics"],
        )
    except (KeyError, TypeError, InputError) as error:
        raise ResultError(f"{path / CARD} lacks or misnames {error}", "run the benchmark again") from error


def list_runs(out: Path) -> tuple[list[RunInfo], list[str]]:
    """All runs below an output folder, newest first, and a line for each folder that could not be read."""
    runs, problems = [], []
    for path in sorted((out / "models").glob("*/")):
        if path.name.startswith("."):
            continue
        try:
            runs.append(read_run(path))
        except ResultError as error:
            problems.append(f"{error.title} – {error.hint}")
    return sorted(runs, key=lambda run: run.created, reverse=True), problems


def open_run(path: Path, emit: Emit = silent) -> OpenRun:
    """Loads a run with its dataset and cases.

    Raises:
        ResultError: the folder is damaged, or its data is no longer what it was trained on.
        AssetError, DataError, ModelError: the data or the language model cannot be loaded.
    """
    info = read_run(path)
    dataset, samples = load_task_data(info.config.data, emit)
    if samples.sha256 != info.samples_sha256:
        raise ResultError(
            f"{path} was tested on other cases than this version makes", "run the benchmark again"
        )
    task = Task(dataset, samples, info.config, info.seed, path, emit)
    recommender = method_class(info.method)()
    recommender.load(path, task)
    return OpenRun(info, dataset, samples, recommender)


def load_task_data(config: DataConfig, emit: Emit = silent) -> tuple[Dataset, Samples]:
    """A dataset and its cases under a run's data settings."""
    card = load_card(config.dataset)
    dataset = load_dataset(card, emit)
    samples = make_samples(
        dataset,
        card,
        split=config.split,
        seed=config.samples_seed,
        spread_positions=config.spread_positions,
        validation_positions=config.validation_positions,
    )
    return dataset, samples
