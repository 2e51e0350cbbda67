"""Trained recommenders on disk: a run folder is complete or absent, and opens only if all of it fits."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from core.config import run_file
from core.config.checks import DATASET_NAME, DATASET_NAMES
from core.config.settings import RunConfig
from core.data.loading import load_task_data
from core.data.types import Dataset, Samples
from core.errors import DataError, InputError, ResultError
from core.events import Emit, Notice, ShouldStop, never, silent
from core.files import atomic_path, remove_whole, sha256_of_file
from core.kinds import Count, Share
from core.methods import method_names, record_of
from core.recommenders.base import Recommender, Task
from core.recommenders.registry import method_class
from core.records import build, json_of, read_text
from core.results.format import Result
from core.results.naming import RunKey
from core.results.store import load_result
from core.runs.demo import is_demo
from core.runs.model_card import run_card

FORMAT = 1
CARD = "run.json"
RESULT = "result.json"
MODEL_CARD = "README.md"


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
    files: dict[str, str] = field(default_factory=dict)
    """Name -> sha256 of the folder's other files; empty in runs of old."""


@dataclass(frozen=True)
class _RunCard:
    """What `run.json` holds; a stranger may have written it."""

    format: int
    dataset: str
    """A name, never a path: what a run leads to is a dataset that its reader knows."""
    split: str
    method: str
    seed: Count
    config: dict[str, Any]
    samples_sha256: str
    created: str
    metrics: dict[str, dict[str, Share]]
    files: dict[str, str] = field(default_factory=dict)
    """Name -> sha256 of the other files; runs of old have none."""

    def __post_init__(self) -> None:
        rules = {"dataset": DATASET_NAMES, "split": DATASET_NAME, "samples_sha256": "[0-9a-f]{1,64}"}
        for name, rule in rules.items():
            if not re.fullmatch(rule, getattr(self, name)):
                raise DataError(f"{name} is {getattr(self, name)[:60]!r}", "a run names things plainly")
        if not record_of(self.method).keeps_model:
            kept = method_names(lambda method: method.keeps_model)
            raise DataError(f"unknown method {self.method[:60]!r}", f"known: {', '.join(kept)}")
        try:
            datetime.fromisoformat(self.created)
        except ValueError as error:
            hint = "a time such as 2026-01-31T12:00:00Z"
            raise DataError(f"created is {self.created[:60]!r}", hint) from error
        for name, sha in self.files.items():
            if Path(name).name != name or not re.fullmatch("[0-9a-f]{64}", sha):
                raise DataError(f"files names {name[:60]!r}", "names of files in the folder, and checksums")


_SAID = ("dataset", "split", "method", "seed", "samples_sha256", "created", "metrics", "files")


@dataclass(frozen=True)
class OpenRun:
    """A run ready to answer."""

    info: RunInfo
    dataset: Dataset
    samples: Samples
    recommender: Recommender


def run_folder(out: Path, dataset: str, split: str, method: str, seed: int, config_sha256: str) -> Path:
    """Where such a run lies below the output folder."""
    return out / "models" / f"{RunKey(dataset, split, method, seed, config_sha256).name}"


def save_run(recommender: Recommender, task: Task, path: Path, result: Result) -> Path:
    """Writes a trained recommender whole, with its result and a model card, in place of an older one."""
    if path.exists():
        remove_whole(path)
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
            RESULT: result.to_json(),
            run_file.NAME: run_file.run_file_text(task.config, recommender.name, task.seed, result.preset),
            MODEL_CARD: run_card(result, task.config, task.dataset.card),
        }
        for name, text in texts.items():
            (temporary / name).write_text(text, encoding="utf-8")
        hashes = {file.name: sha256_of_file(file) for file in sorted(temporary.iterdir()) if file.is_file()}
        card["files"] = {name: sha for name, sha in hashes.items() if name != MODEL_CARD}
        (temporary / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return path


def read_run(path: Path) -> RunInfo:
    """What a run folder says about itself.

    Raises:
        ResultError: it is no run folder, damaged, or of another version.
    """
    hint = "give the path of a folder below runs/models, as the benchmark made it"
    if not (path / CARD).exists():
        raise ResultError(f"{path} is not a run folder: no {CARD}", hint)
    try:
        record = json_of(read_text(path / CARD), str(path / CARD))
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise ResultError(
                f"{path} was made by another version of this program", "run the benchmark again"
            )
        card = build(_RunCard, record)
        config = RunConfig.from_dict(card.config)
    except (DataError, InputError) as error:
        wrong = f"{path / CARD} lacks or misnames something: {error.title}"
        raise ResultError(wrong, "run the benchmark again") from error
    if (card.dataset, card.split) != (config.data.dataset, config.data.split):
        raise ResultError(f"{path / CARD} names two datasets or splits", "run the benchmark again")
    fields = {name: getattr(card, name) for name in _SAID}
    return RunInfo(path=path, config=config, **fields)


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
    if is_demo(path):
        raise ResultError("the demo comes with the program and stays", "ilora-app runs lists your own")
    try:
        remove_whole(path)
    except OSError as error:
        raise ResultError(f"cannot remove {path}: {error.strerror}", "check its permissions") from error


DataRead = Callable[[RunInfo, Dataset, Samples], None]
"""Told what a run is about as soon as its data is read, before its model is."""


def open_run(
    path: Path,
    emit: Emit = silent,
    precision: str = "auto",
    should_stop: ShouldStop = never,
    data_read: DataRead | None = None,
) -> OpenRun:
    """Loads a run with its dataset and cases.

    Args:
        path: the run folder.
        emit: receives progress, and a notice where the precision is another one than in training.
        precision: what the language model is computed in, whatever it was trained in.
        should_stop: asked while the model is loaded, and between its layers ever after.
        data_read: called once with the run, its dataset and its cases, before the model is loaded.

    Raises:
        InputError: this machine cannot compute in that precision.
        ResultError: the folder is damaged, or its data is no longer what it was trained on.
        AssetError, DataError, ModelError: the data or the language model cannot be loaded.
        Interrupted: `should_stop` said so.
    """
    info = read_run(path)
    check_files(info)  # before the data is loaded, which may take long
    dataset, samples = load_task_data(info.config.data, emit)
    _check_cases(info, samples)
    if data_read is not None:
        data_read(info, dataset, samples)
    recommender = load_run(info, dataset, samples, emit, precision, should_stop)
    return OpenRun(info, dataset, samples, recommender)


def load_run(
    info: RunInfo,
    dataset: Dataset,
    samples: Samples,
    emit: Emit = silent,
    precision: str = "auto",
    should_stop: ShouldStop = never,
) -> Recommender:
    """The recommender of a run whose dataset and cases are loaded already; see `open_run`."""
    check_files(info)
    _check_cases(info, samples)
    config = _config_here(info, precision, emit)
    recommender = method_class(info.method)()
    recommender.load(info.path, Task(dataset, samples, config, info.seed, info.path, emit, should_stop))
    return recommender


def _check_cases(info: RunInfo, samples: Samples) -> None:
    if samples.sha256 != info.samples_sha256:
        raise ResultError(
            f"{info.path} was tested on other cases than this version makes", "run the benchmark again"
        )


def check_files(info: RunInfo) -> None:
    """Refuses a run whose files are not those that were saved; their README may be edited."""
    for file in info.path.iterdir():
        if not file.is_file() and not file.is_dir():  # a pipe would be waited for, a device may never end
            raise ResultError(f"{file} cannot be read: not a regular file", "copy the folder anew")
    for name, sha in info.files.items():
        try:
            found = sha256_of_file(info.path / name)
        except OSError as error:
            raise ResultError(
                f"{info.path / name} cannot be read: {error.strerror}", "copy the folder anew, or train again"
            ) from error
        if found != sha:
            raise ResultError(
                f"{info.path / name} cannot be read: it is not the file that was saved",
                "copy the folder anew, or train again",
            )


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
