"""Sequence encoders as methods, and the encoder that the gate reads: trained, tuned, kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import filelock
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.config.checks import sha256_of
from core.config.saved import withholding, without_news
from core.config.settings import TUNING_GRID, EncoderConfig
from core.data.samples import last_positions
from core.data.types import Samples
from core.encoders.base import Encoder, new_encoder
from core.encoders.job import EncoderJob, score_lists
from core.encoders.joined import JoinedEncoder
from core.encoders.morec import MoRec
from core.errors import IloraError, ModelError, ResultError
from core.evaluation.metrics import Scores
from core.events import Notice, SettingTried
from core.files import atomic_path
from core.recommenders.base import FitReport, Recommender, Task, lock_of
from core.recommenders.encoder_data import known_to_encoders, notes_on_age
from core.records import build, json_of
from core.run_time import run_seconds
from core.training import parallel
from core.training.checkpoints import clear_checkpoints
from core.training.job import Schedule, TrainingReport
from core.training.loop import train
from core.training.weights import check_weights

REPORT = "report"
"""Key of the training report in the metadata of an encoder's file."""
ENCODER_FILE = "encoder.safetensors"


# --- training --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """What is trained, apart from the settings."""

    name: str
    """The method's name; part of the file's name."""
    build: Callable[[EncoderConfig], Encoder]
    """Makes an untrained encoder with these settings, initialized from torch's generator."""
    inputs: tuple[str, ...] = ()
    """Names of what else decides the weights."""


def id_recipe(task: Task, kind: str) -> Recipe:
    """An encoder of a kind that knows the task's items by their ids."""
    items, span = len(task.dataset.catalogue), task.dataset.rules.max_history
    return Recipe(kind, lambda config: new_encoder(kind, items, config, span))


def schedule_of(
    config: EncoderConfig, epoch: int, rate: float, validate_every: int, seed: int, criterion: str = "MRR"
) -> Schedule:
    """How an encoder is trained, from data or a teacher; `epoch` and `validate_every` are in steps."""
    return Schedule(
        steps=min(epoch * config.epochs, config.steps or epoch * config.epochs),
        batch_size=config.batch_size,
        micro_batch_size=config.batch_size,
        learning_rate=rate,
        warmup_steps=epoch // 2,
        final_rate=0.05,
        clip=5.0,
        validate_every=validate_every,
        patience=config.patience,
        criterion=criterion,
        seed=seed,
    )


def fit_encoder(task: Task) -> tuple[Encoder, TrainingReport]:
    """The frozen encoder that the gate and the item slots of this run read, of the config's kind.

    Returns:
        The encoder, and how its training went, also where another method trained it.
    """
    model, report, _ = encoder_of(task, [id_recipe(one, one.config.encoder.kind) for one in task.each])
    return model, report


def encoder_of(task: Task, recipes: Sequence[Recipe]) -> tuple[Encoder, TrainingReport, list[str]]:
    """The frozen encoder of a task; of several datasets as one, the encoders that each has alone, joined.

    Args:
        task: what is trained on.
        recipes: what is trained, for each of `task.each`.

    Returns:
        The encoder, how training went (without curves where there are several), and what was tried.
    """
    if not task.dataset.parts:
        return choose_encoder(task, recipes[0])
    chosen, told = [], []
    for one, recipe in zip(task.each, recipes, strict=True):
        task.emit(Notice(f"{recipe.name}, seed {task.seed}: the encoder of {one.dataset.name}"))
        chosen.append(choose_encoder(one, recipe))
        told += [f"{one.dataset.name}: {note}" for note in chosen[-1][2]]
    reports = [report for _, report, _ in chosen]
    seconds = sum(report.seconds for report in reports)
    seen = sum(report.samples_per_second * report.seconds for report in reports)
    whole = TrainingReport(
        steps=sum(report.steps for report in reports),
        best_step=sum(report.best_step for report in reports),
        seconds=seconds,
        samples_per_second=seen / seconds if seconds else 0.0,
        curve=[],
    )
    return joined(task, [model for model, _, _ in chosen]), whole, told


def joined(task: Task, models: Sequence[Encoder]) -> Encoder:
    """An encoder of the task: one for each of its datasets, joined, or the only one."""
    if not task.dataset.parts:
        return models[0]
    return JoinedEncoder(models, [len(part.catalogue) for part in task.dataset.parts]).freeze()


def choose_encoder(task: Task, recipe: Recipe) -> tuple[Encoder, TrainingReport, list[str]]:
    """The frozen encoder of the config's setting or, with `tune`, of the setting that validation prefers.

    Returns:
        The encoder, how its own training went, and what was tried with which outcome.
    """
    config = task.config.encoder
    if not config.tune:
        return *train_encoder(task, recipe, config), []
    name, tried = recipe.name, []
    for setting in TUNING_GRID:
        task.emit(Notice(f"{name}, seed {task.seed}: tuning, {_said(setting)}"))
        task.emit(SettingTried(name, task.seed, _said(setting)))
        tried.append(train_encoder(task, recipe, replace(config, **setting)))  # type: ignore[arg-type]
    worth = [max(row["MRR"] for row in report.curve) for _, report in tried]
    best = int(np.argmax(worth))
    seconds = sum(report.seconds for _, report in tried)
    figures = [f"{_said(setting)}: {mrr:.4f}" for setting, mrr in zip(TUNING_GRID, worth, strict=True)]
    note = (
        f"{name} tuned by validation MRR on {len(task.samples.validation)} cases, chosen "
        f"{_said(TUNING_GRID[best])} of {len(tried)} settings ({'; '.join(figures)}), "
        f"{seconds:.0f} s of training in all"
    )
    task.emit(Notice(note))
    return *tried[best], [note]


def _said(setting: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in setting.items())


def train_encoder(task: Task, recipe: Recipe, config: EncoderConfig) -> tuple[Encoder, TrainingReport]:
    """The frozen encoder of this (data, seed, setting), read from the task's folder or trained into it."""
    name = recipe.name
    samples = task.samples
    validation = [samples.seed, task.config.data.validation_positions]
    settings = {field: value for field, value in vars(config).items() if field not in ("kind", "tune")}
    settings = without_news("encoder", settings)
    settings["max_history"] = task.dataset.rules.max_history
    settings |= withholding(task.config.data)
    if task.config.data.users:
        settings["users"] = task.config.data.users
    key = sha256_of([settings, samples.dataset, samples.split, *validation, task.seed, *recipe.inputs])[:12]
    path = task.folder / "encoders" / f"{name}-{key}.safetensors"
    with task.watch(name).alone(lock_of(task.folder, path.stem), f"training the encoder {name}"):
        return _train_encoder(task, recipe, config, path)


def _train_encoder(
    task: Task, recipe: Recipe, config: EncoderConfig, path: Path
) -> tuple[Encoder, TrainingReport]:
    name, samples = recipe.name, task.samples
    torch.manual_seed(task.seed)
    model = recipe.build(config)
    checkpoints = task.folder / "checkpoints" / path.stem
    if path.is_file():
        try:
            report = _read_encoder(path, model)
            clear_checkpoints(checkpoints)  # whoever wrote the file may have been killed before
            return model, report
        except (IloraError, OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
            task.emit(Notice(f"{path} is damaged ({error}); training the encoder again", "warning"))
    sequences, unmet = known_to_encoders(task)
    job = EncoderJob(model, sequences, samples.validation, task.seed, unmet)
    epoch = max(1, round(-(-len(job) // config.batch_size) * passes(samples)))
    schedule = schedule_of(config, epoch, config.learning_rate, 2 * epoch, task.seed)
    label = (name, task.seed)
    report = train(job, len(job), schedule, checkpoints, label, task.emit, task.should_stop)
    job.settle()
    with atomic_path(path) as temporary:
        save_file(_contiguous(model), temporary, {REPORT: json.dumps(asdict(report))})
    clear_checkpoints(checkpoints)
    chosen, trained = report.best_step // epoch, report.steps // epoch
    task.emit(Notice(f"{name}, seed {task.seed}: validation chose epoch {chosen} of {trained}"))
    return model.freeze(), report


def passes(samples: Samples) -> float:
    """How often training users are met in what counts as an epoch: more than once where few of them train.

    So an encoder that has few users to learn from may take as many steps, and is validated as often, as one
    that has all of them.
    """
    users = len(last_positions(samples.train))
    return (users + samples.untrained) / max(1, users)


def clear_known_encoders(folder: Path) -> None:
    """Drops checkpoints of encoders that are saved already, by a process that was killed in between.

    Args:
        folder: the folder of a run's tasks.
    """
    for checkpoints in folder.glob("checkpoints/*/"):
        if not (folder / "encoders" / f"{checkpoints.name}.safetensors").is_file():
            continue
        with (
            contextlib.suppress(filelock.Timeout),
            filelock.FileLock(lock_of(folder, checkpoints.name), timeout=0),
        ):
            clear_checkpoints(checkpoints)


def _read_encoder(path: Path, model: Encoder) -> TrainingReport:
    """Loads a trained encoder into `model`, frozen, and tells how its training went."""
    take_weights(model, path)
    model.freeze()
    with safe_open(path, "pt") as file:
        return build(TrainingReport, json_of(file.metadata()[REPORT], path.name))


# --- keeping ---------------------------------------------------------------------------------------------


def save_encoder(model: Encoder, folder: Path) -> None:
    """Writes an encoder's weights into a run folder."""
    save_file(_contiguous(model), folder / ENCODER_FILE)


def load_encoder(folder: Path, task: Task, kind: str | None = None) -> Encoder:
    """The frozen encoder of a run folder, of this kind or the config's.

    Raises:
        ResultError: the file is missing or damaged, or a weight is of another shape or type, or not finite.
    """
    kind, config = kind or task.config.encoder.kind, task.config.encoder
    model = joined(task, [id_recipe(one, kind).build(config) for one in task.each])
    with readable(folder / ENCODER_FILE):
        take_weights(model, folder / ENCODER_FILE)
    return model.freeze()


def take_weights(model: Encoder, path: Path) -> None:
    """Loads a file's weights into an encoder, or raises `ModelError` where one of them makes no sense."""
    saved = load_file(path)
    check_weights(saved, model.state_dict(), str(path))
    model.load_state_dict(saved)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong while weights are read from a file into a `ResultError` that names it."""
    try:
        yield
    except (ModelError, OSError, SafetensorError, RuntimeError, KeyError, ValueError, TypeError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ResultError(f"{path}: {first}", "run the benchmark again") from error


def _by_number(name: str) -> tuple[int, str]:
    """The order of joined encoders, of which the second is called `parts.1`, the eleventh `parts.10`."""
    return len(name), name


def _contiguous(model: Encoder) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


class EncoderRecommender(Recommender):
    """A sequence encoder as a method of its own; the method's name is the encoder's kind."""

    model: Encoder

    def recipe(self, task: Task) -> Recipe:
        """What is trained."""
        return id_recipe(task, self.name)

    def fit(self, task: Task) -> FitReport:
        """Trains the encoder, or takes the one that another method of this run trained."""
        with parallel.main_first():
            started = run_seconds()
            recipes = [self.recipe(one) for one in task.each]
            loading = run_seconds() - started
            self.model, report, notes = encoder_of(task, recipes)
        parameters = sum(p.numel() for p in self.model.parameters())
        return FitReport(
            trainable_parameters=parameters,
            total_parameters=parameters,
            load_seconds=loading,
            train_seconds=report.seconds,
            samples_per_second=report.samples_per_second,
            curve=report.curve,
            notes=[*notes, *notes_on_age(task)],
        )

    def score(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Scores:
        """How well the state after the history fits the candidates' vectors."""
        return score_lists(self.model, histories, candidates)

    @torch.no_grad()
    def score_all(self, histories: Sequence[Sequence[int]], items: int) -> Scores:
        """One matrix product for all histories, where candidates of each would be gathered."""
        scores = self.model.logits(self.model.represent(histories)).float().cpu().numpy()
        assert scores.shape == (len(histories), items)
        return scores

    def save(self, folder: Path) -> None:
        """Writes the weights."""
        save_encoder(self.model, folder)

    def load(self, folder: Path, task: Task) -> None:
        """Reads the weights."""
        self.model = load_encoder(folder, task, self.name)


class CaserRecommender(EncoderRecommender):
    """Caser as a method of its own."""

    name = "caser"


class ESASRecRecommender(EncoderRecommender):
    """eSASRec as a method of its own."""

    name = "esasrec"


class GRU4RecRecommender(EncoderRecommender):
    """GRU4Rec as a method of its own."""

    name = "gru4rec"


class MoRecRecommender(EncoderRecommender):
    """MoRec as a method: the language model reads every title once, and is not needed to answer."""

    name = "morec"

    def recipe(self, task: Task) -> Recipe:
        """Reads the titles."""
        from core.lm.checking import load_checked  # transformers is slow to import
        from core.lm.title_vectors import title_vectors

        watch = task.watch(self.name)
        llm = load_checked(task.config.model, watch)
        titles = title_vectors(llm, task.texts, watch)
        digest = hashlib.sha256(titles.numpy().tobytes()).hexdigest()
        span = task.dataset.rules.max_history
        withheld = task.samples.withheld
        return Recipe(self.name, lambda config: MoRec(titles, config, span, withheld), (digest,))

    def load(self, folder: Path, task: Task) -> None:
        """Reads the weights, the title vectors among them; the language model is not loaded."""
        with readable(folder / ENCODER_FILE):
            weights = load_file(folder / ENCODER_FILE)
            titles = [weights[name] for name in sorted(weights, key=_by_number) if name.endswith("titles")]
            self.model = joined(
                task,
                [
                    MoRec(torch.zeros_like(own), task.config.encoder, one.dataset.rules.max_history)
                    for own, one in zip(titles, task.each, strict=True)
                ],
            )
            take_weights(self.model, folder / ENCODER_FILE)
        self.model.freeze()


class SASRecRecommender(EncoderRecommender):
    """SASRec as a method of its own."""

    name = "sasrec"
