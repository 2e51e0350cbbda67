"""What sequence encoders share: how they are asked, trained by full softmax, tuned, and kept."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core import parallel
from core.config import TUNING_GRID, EncoderConfig, check_choice, sha256_of
from core.data.types import Sample
from core.errors import Interrupted, ModelError, ResultError
from core.events import Notice, SettingTried, ShouldStop
from core.files import atomic_path
from core.metrics import ranks_from_scores, summarize
from core.recommenders.base import FitReport, Recommender, Scores, Task
from core.recommenders.popularity import training_sequences
from core.training import Schedule, TrainingReport, clear_checkpoints, train
from core.weights import check_weights

PAD = 0
REPORT = "report"
"""Key of the training report in the metadata of an encoder's file."""
ENCODER_FILE = "encoder.safetensors"

KINDS = {
    "sasrec": "core.recommenders.sasrec:SASRec",
    "gru4rec": "core.recommenders.gru4rec:GRU4Rec",
    "caser": "core.recommenders.caser:Caser",
}
"""`EncoderConfig.kind` -> the module that reads histories; it is also the method of that name."""


class Encoder(nn.Module, ABC):
    """Reads a history into a vector z that is compared with the items' vectors.

    Item ids are shifted by one, 0 pads on the left. A subclass has an embedding `items` and says how the
    states of a row come about; the rest is the same for all.
    """

    kind: ClassVar[str]
    items: nn.Embedding

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.frozen = False

    @abstractmethod
    def forward(self, ids: Tensor) -> Tensor:
        """The state after each item, which knows nothing of later ones.

        Args:
            ids: (batch, length) shifted item ids, left-padded; length <= max_history.

        Returns:
            (batch, length, width).
        """

    @property
    def width(self) -> int:
        """Length of z and of an item's vector."""
        return self.config.width

    @property
    def max_history(self) -> int:
        """Items read, the last ones of a history."""
        return self.config.max_history

    def represent(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """z, (batch, width): the state after the last item of each history."""
        states: Tensor = self(self.batch(histories))
        return states[:, -1]

    def item_vectors(self) -> Tensor:
        """(items, width), the catalogue's vectors without the padding row."""
        return self.items.weight[1:]

    def logits(self, z: Tensor) -> Tensor:
        """Scores of the whole catalogue: (n, items) for z (n, width)."""
        return z @ self.item_vectors().T

    def score(self, z: Tensor, candidates: Tensor) -> Tensor:
        """Logits of candidates: (batch, c) for z (batch, width) and unshifted ids (batch, c)."""
        return torch.einsum("bd,bcd->bc", z, self.item_vectors()[candidates])

    def batch(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """Shifted, left-padded ids, (batch, max_history), of the last items of each history."""
        ids = np.full((len(histories), self.max_history), PAD, dtype=np.int64)
        for row, history in zip(ids, histories, strict=True):
            kept = np.asarray(history[-self.max_history :], dtype=np.int64)
            if len(kept):
                row[-len(kept) :] = kept + 1
        return torch.from_numpy(ids).to(self.items.weight.device)

    def freeze(self) -> Self:
        """Itself in evaluation mode without gradients, for good: what may feed a gate."""
        self.frozen = True
        return self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Training mode, unless frozen: the vectors that a gate reads never go through dropout."""
        return super().train(mode and not self.frozen)


def new_encoder(kind: str, items: int, config: EncoderConfig) -> Encoder:
    """An untrained encoder of a kind, initialized from torch's generator.

    Raises:
        InputError: there is no such kind.
    """
    check_choice(kind, tuple(KINDS), "encoder")
    module, name = KINDS[kind].split(":")
    made: Encoder = getattr(import_module(module), name)(items, config)
    return made


# --- training --------------------------------------------------------------------------------------------


class EncoderJob:
    """Trains an encoder to predict every next item of the training users by cross-entropy over the catalogue.

    A user's sequence is cut into pieces of max_history + 1 items; where it is cut changes every epoch, so
    that every item is met with histories of every length. A training sample is one piece.
    """

    def __init__(
        self, model: Encoder, sequences: list[np.ndarray], validation: Sequence[Sample], seed: int
    ) -> None:
        self.model, self.seed, self.validation = model, seed, validation
        self.window = model.max_history
        self.lengths = np.array([len(items) for items in sequences], dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.flat = np.concatenate([np.asarray(items, dtype=np.int64) for items in sequences])
        pieces = -(-(self.lengths - 1) // self.window) + 1
        self.user = np.repeat(np.arange(len(sequences)), pieces)
        self.piece = np.arange(len(self.user)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        self._cuts: dict[int, npt.NDArray[np.int64]] = {}

    def __len__(self) -> int:
        """Number of pieces."""
        return len(self.user)

    def cuts(self, epoch: int) -> npt.NDArray[np.int64]:
        """(pieces, max_history + 1) shifted ids of every piece in an epoch, left-padded; some are empty."""
        if epoch not in self._cuts:
            self._cuts = {known: cut for known, cut in self._cuts.items() if known == epoch - 1}
            self._cuts[epoch] = self._cut(epoch)
        return self._cuts[epoch]

    def _cut(self, epoch: int) -> npt.NDArray[np.int64]:
        draws = (np.random.default_rng((self.seed, epoch, user)) for user in range(len(self.lengths)))
        shifts = np.array([draw.integers(self.window) for draw in draws])
        first = self.piece * self.window - shifts[self.user]
        end = np.minimum(first + self.window + 1, self.lengths[self.user])
        places = end[:, None] + np.arange(-self.window - 1, 0)
        real = places >= np.maximum(0, first)[:, None]
        ids = self.flat[np.where(real, self.starts[self.user][:, None] + places, 0)] + 1
        return np.where(real, ids, PAD)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group: everything."""
        config = self.model.config
        return [{"params": list(self.model.parameters()), "rate": 1.0, "weight_decay": config.weight_decay}]

    def terms(self, samples: Sequence[int], epoch: int) -> int:
        """Number of predicted items."""
        return int((self.cuts(epoch)[samples, :-1] != PAD).sum())

    def length(self, sample: int, epoch: int) -> int:
        """All pieces count the same."""
        del sample, epoch
        return 0

    @contextmanager
    def loss(self, samples: Sequence[int], epoch: int) -> Iterator[tuple[Tensor, int]]:
        """Summed cross-entropy over the whole catalogue, and the number of predicted items."""
        self.model.train()
        rows = self.cuts(epoch)[samples]
        rows = rows[(rows[:, :-1] != PAD).any(axis=1)]
        if not len(rows):
            yield torch.zeros(()), 0
            return
        ids = torch.from_numpy(rows).to(self.model.items.weight.device)
        inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:]
        real = inputs != PAD
        logits = self.model.logits(self.model(inputs)[real])
        yield F.cross_entropy(logits, targets[real] - 1, reduction="sum"), int(real.sum())

    def validate(self, should_stop: ShouldStop) -> dict[str, float]:
        """Ranking metrics over the validation candidates."""
        if should_stop():
            raise Interrupted
        scores = score_samples(self.model, self.validation)
        metrics = summarize(ranks_from_scores(scores, target_columns(self.validation)))
        return {**metrics, "n": float(len(self.validation))}

    def baseline(self) -> None:
        """An untrained encoder is worth nothing."""
        return None

    def state(self) -> dict[str, Tensor]:
        """All weights."""
        return self.model.state_dict()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state` gave."""
        self.model.load_state_dict(state)

    def gate(self) -> None:
        """There is no gate."""
        return None


def target_columns(samples: Sequence[Sample]) -> np.ndarray:
    """(n,) where each sample's target stands among its candidates."""
    return np.array([sample.candidates.index(sample.target) for sample in samples], dtype=np.int64)


@torch.no_grad()
def score_samples(model: Encoder, samples: Sequence[Sample]) -> Scores:
    """(n, c) the encoder's scores of the samples' candidates; the model is left in evaluation mode."""
    model.eval()
    z = model.represent([sample.history for sample in samples])
    candidates = torch.tensor([sample.candidates for sample in samples], device=z.device)
    return model.score(z, candidates).float().cpu().numpy()


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
    return Recipe(kind, lambda config: new_encoder(kind, len(task.dataset.catalogue), config))


def fit_encoder(task: Task) -> tuple[Encoder, TrainingReport]:
    """The frozen encoder that the gate and the item slots of this run read, of the config's kind.

    Returns:
        The encoder, and how its training went, also where another method trained it.
    """
    model, report, _ = choose_encoder(task, id_recipe(task, task.config.encoder.kind))
    return model, report


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
    key = sha256_of([settings, samples.dataset, samples.split, *validation, task.seed, *recipe.inputs])[:12]
    path = task.folder / "encoders" / f"{name}-{key}.safetensors"
    torch.manual_seed(task.seed)
    model = recipe.build(config)
    if path.is_file():
        try:
            return model, _read_encoder(path, model)
        except (ModelError, OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
            task.emit(Notice(f"{path} is damaged ({error}); training the encoder again", "warning"))
    job = EncoderJob(model, training_sequences(task), samples.validation, task.seed)
    epoch = max(1, -(-len(job) // config.batch_size))
    schedule = Schedule(
        steps=min(epoch * config.epochs, config.steps or epoch * config.epochs),
        batch_size=config.batch_size,
        micro_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup_steps=epoch // 2,
        final_rate=0.05,
        clip=5.0,
        validate_every=2 * epoch,
        patience=config.patience,
        seed=task.seed,
    )
    label, checkpoints = (name, task.seed), task.folder / "checkpoints" / path.stem
    report = train(job, len(job), schedule, checkpoints, label, task.emit, task.should_stop)
    with atomic_path(path) as temporary:
        save_file(_contiguous(model), temporary, {REPORT: json.dumps(asdict(report))})
    clear_checkpoints(checkpoints)
    chosen, trained = report.best_step // epoch, report.steps // epoch
    task.emit(Notice(f"{name}, seed {task.seed}: validation chose epoch {chosen} of {trained}"))
    return model.freeze(), report


def _read_encoder(path: Path, model: Encoder) -> TrainingReport:
    """Loads a trained encoder into `model`, frozen, and tells how its training went."""
    take_weights(model, path)
    model.freeze()
    with safe_open(path, "pt") as file:
        return TrainingReport(**json.loads(file.metadata()[REPORT]))


# --- keeping ---------------------------------------------------------------------------------------------


def save_encoder(model: Encoder, folder: Path) -> None:
    """Writes an encoder's weights into a run folder."""
    save_file(_contiguous(model), folder / ENCODER_FILE)


def load_encoder(folder: Path, task: Task, kind: str | None = None) -> Encoder:
    """The frozen encoder of a run folder, of this kind or the config's.

    Raises:
        ResultError: the file is missing or damaged, or a weight is of another shape or type, or not finite.
    """
    model = new_encoder(kind or task.config.encoder.kind, len(task.dataset.catalogue), task.config.encoder)
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
            started = time.monotonic()
            recipe = self.recipe(task)
            loading = time.monotonic() - started
            self.model, report, notes = choose_encoder(task, recipe)
        parameters = sum(p.numel() for p in self.model.parameters())
        return FitReport(
            trainable_parameters=parameters,
            total_parameters=parameters,
            load_seconds=loading,
            train_seconds=report.seconds,
            samples_per_second=report.samples_per_second,
            curve=report.curve,
            notes=notes,
        )

    @torch.no_grad()
    def score(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Scores:
        """How well the state after the history fits the candidates' vectors."""
        z = self.model.represent(histories)
        ids = torch.tensor(np.asarray(candidates, dtype=np.int64), device=z.device)
        return self.model.score(z, ids).float().cpu().numpy()

    def save(self, folder: Path) -> None:
        """Writes the weights."""
        save_encoder(self.model, folder)

    def load(self, folder: Path, task: Task) -> None:
        """Reads the weights."""
        self.model = load_encoder(folder, task, self.name)
