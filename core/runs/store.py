"""Trained recommenders on disk: a run folder is complete or absent, and opens only if all of it fits."""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from core.config import run_file
from core.config.settings import RunConfig
from core.data.loading import load_task_data
from core.data.types import Dataset, Samples
from core.errors import InputError, ResultError
from core.events import Emit, Notice, silent
from core.files import TEMPORARY_MARK, atomic_path
from core.methods import record_of
from core.recommenders.base import Recommender, Task
from core.recommenders.registry import method_class
from core.results.format import Result
from core.results.store import load_result
from core.runs.model_card import run_card

FORMAT = 1
CARD = "run.json"
RESULT = "result.json"
MODEL_CARD = "README.md"
DEMO = Path(__file__).parents[1] / "demo"
"""The run folder that comes with the program: an iLoRA for MovieLens, trained with a longer budget."""
DEMO_NAME = "demo"
"""What stands for that folder wherever a run is asked for."""


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


def save_run(recommender: Recommender, task: Task, path: Path, result: Result) -> Path:
    """Writes a trained recommender whole, with its result and a model card, in place of an older one."""
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
            "created": result.created,
            "metrics": {
                test_set: {metric: value.value for metric, value in values.items()}
                for test_set, values in result.metrics.items()
            },
        }
        texts = {
            CARD: json.dumps(card, indent=1) + "\n",
            RESULT: result.to_json(),
            run_file.NAME: run_file.run_file_text(task.config, recommender.name, task.seed, result.preset),
            MODEL_CARD: run_card(result, task.config, task.dataset.card),
        }
        for name, text in texts.items():
            (temporary / name).write_text(text, encoding="utf-8")
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


def result_of(path: Path) -> Result:
    """The result of a run folder: its own copy, else the file in the folder that the benchmark wrote to.

    Raises:
        ResultError: it is no run folder, or its result is missing or damaged.
    """
    read_run(path)
    own, beside = path / RESULT, path.absolute().parent.parent / "results" / f"{path.name}.json"
    for file in (own, beside):
        if file.is_file():
            return load_result(file)
    raise ResultError(f"{path.name} has no result file", "run the benchmark for it")


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


def folder_bytes(path: Path) -> int:
    """What a run folder takes on disk."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def remove_run(path: Path) -> None:
    """Removes a run folder; killed half-way, it leaves no half of a run.

    Raises:
        ResultError: it is no run folder, or the demo, or cannot be removed.
    """
    read_run(path)
    if path.resolve() == DEMO.resolve():
        raise ResultError("the demo comes with the program and stays", "ilora-app runs lists your own")
    try:
        doomed = path.rename(path.with_name(f".{path.name}{TEMPORARY_MARK}{secrets.token_hex(4)}"))
        shutil.rmtree(doomed)
    except OSError as error:
        raise ResultError(f"cannot remove {path}: {error.strerror}", "check its permissions") from error


def open_run(path: Path, emit: Emit = silent, precision: str = "auto") -> OpenRun:
    """Loads a run with its dataset and cases.

    Args:
        path: the run folder.
        emit: receives progress, and a notice where the precision is another one than in training.
        precision: what the language model is computed in, whatever it was trained in.

    Raises:
        InputError: this machine cannot compute in that precision.
        ResultError: the folder is damaged, or its data is no longer what it was trained on.
        AssetError, DataError, ModelError: the data or the language model cannot be loaded.
    """
    info = read_run(path)
    dataset, samples = load_task_data(info.config.data, emit)
    if samples.sha256 != info.samples_sha256:
        raise ResultError(
            f"{path} was tested on other cases than this version makes", "run the benchmark again"
        )
    task = Task(dataset, samples, _config_here(info, precision, emit), info.seed, path, emit)
    recommender = method_class(info.method)()
    recommender.load(path, task)
    return OpenRun(info, dataset, samples, recommender)


def _config_here(info: RunInfo, precision: str, emit: Emit) -> RunConfig:
    """A run's settings in the precision of this machine, or in the one asked for."""
    if not record_of(info.method).needs_llm:
        return info.config
    from core.lm.loading import settle_precision

    trained = info.config.model
    model = settle_precision(replace(trained, precision=precision), emit)
    if model.precision != trained.precision:
        text = f"trained in {trained.precision}, computed in {model.precision} here: close calls may differ"
        emit(Notice(text))
    return replace(info.config, model=model)
