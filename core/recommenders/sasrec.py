"""SASRec (Kang and McAuley, 2018) with full softmax: a strong baseline, and the encoder the gate reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.config import EncoderConfig, sha256_of
from core.data.types import Sample
from core.errors import Interrupted, ResultError
from core.events import Notice, ShouldStop
from core.files import atomic_path
from core.metrics import ranks_from_scores, summarize
from core.recommenders.base import FitReport, Recommender, Scores, Task
from core.recommenders.popularity import training_sequences
from core.training import Schedule, TrainingReport, clear_checkpoints, train

PAD = 0
REPORT = "training"
"""Key of the training report in the metadata of an encoder's file."""


class SASRec(nn.Module):
    """Self-attention over the last items; an item's output vector is its input vector.

    Item ids are shifted by one, 0 pads on the left.
    """

    def __init__(self, items: int, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items + 1, config.width, padding_idx=PAD)
        self.positions = nn.Embedding(config.max_history, config.width)
        block = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            4 * config.width,
            config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(block, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.items.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)
        with torch.no_grad():
            self.items.weight[PAD].zero_()

    def forward(self, ids: Tensor) -> Tensor:
        """The state after each item.

        Args:
            ids: (batch, length) shifted item ids, left-padded; length <= max_history.

        Returns:
            (batch, length, width).
        """
        length = ids.shape[1]
        hidden = self.dropout(self.items(ids) + self.positions.weight[-length:])
        future = torch.ones(length, length, dtype=torch.bool, device=ids.device).triu(1)
        hidden_from = future | (ids == PAD)[:, None, :]  # (batch, query, key)
        itself = torch.eye(length, dtype=torch.bool, device=ids.device)
        mask = (hidden_from & ~itself).repeat_interleave(self.config.heads, dim=0)
        states: Tensor = self.norm(self.blocks(hidden, mask=mask))
        return states

    def represent(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """z, (batch, width): the state after the last item of each history."""
        states: Tensor = self(self.batch(histories))
        return states[:, -1]

    def item_vectors(self) -> Tensor:
        """(items, width), the catalogue's vectors without the padding row."""
        return self.items.weight[1:]

    def score(self, z: Tensor, candidates: Tensor) -> Tensor:
        """Logits of candidates: (batch, c) for z (batch, width) and unshifted ids (batch, c)."""
        return torch.einsum("bd,bcd->bc", z, self.items(candidates + 1))

    def batch(self, histories: Sequence[Sequence[int]]) -> Tensor:
        """Shifted, left-padded ids, (batch, max_history), of the last items of each history."""
        ids = np.full((len(histories), self.config.max_history), PAD, dtype=np.int64)
        for row, history in zip(ids, histories, strict=True):
            kept = np.asarray(history[-self.config.max_history :], dtype=np.int64)
            if len(kept):
                row[-len(kept) :] = kept + 1
        return torch.from_numpy(ids).to(self.items.weight.device)

    def freeze(self) -> SASRec:
        """Itself in evaluation mode without gradients: what may feed a gate."""
        return self.eval().requires_grad_(False)


class EncoderJob:
    """Trains SASRec to predict every next item of the training users by cross-entropy over the catalogue.

    A user's sequence is cut into pieces of max_history + 1 items; where it is cut changes every epoch, so
    that every item is met with histories of every length. A training sample is one piece.
    """

    def __init__(
        self, model: SASRec, sequences: list[np.ndarray], validation: Sequence[Sample], seed: int
    ) -> None:
        self.model, self.sequences, self.seed = model, sequences, seed
        self.window = model.config.max_history
        self.pieces = [
            (user, piece)
            for user, items in enumerate(sequences)
            for piece in range(-(-(len(items) - 1) // self.window) + 1)
        ]
        self.validation = validation

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group: everything."""
        config = self.model.config
        return [{"params": list(self.model.parameters()), "rate": 1.0, "weight_decay": config.weight_decay}]

    def cut(self, sample: int, epoch: int) -> np.ndarray:
        """The items of a piece in an epoch: up to max_history inputs and one more; may be empty."""
        user, piece = self.pieces[sample]
        items = self.sequences[user]
        shift = int(np.random.default_rng((self.seed, epoch, user)).integers(self.window))
        first = piece * self.window - shift
        return items[max(0, first) : max(0, first + self.window + 1)]

    def terms(self, samples: Sequence[int], epoch: int) -> int:
        """Number of predicted items."""
        return sum(max(0, len(self.cut(sample, epoch)) - 1) for sample in samples)

    def length(self, sample: int, epoch: int) -> int:
        """All pieces count the same."""
        del sample, epoch
        return 0

    @contextmanager
    def loss(self, samples: Sequence[int], epoch: int) -> Iterator[tuple[Tensor, int]]:
        """Summed cross-entropy over the whole catalogue, and the number of predicted items."""
        self.model.train()
        rows = [cut for cut in (self.cut(sample, epoch) for sample in samples) if len(cut) > 1]
        if not rows:
            yield torch.zeros(()), 0
            return
        inputs = self.model.batch([row[:-1].tolist() for row in rows])
        targets = self.model.batch([row[1:].tolist() for row in rows])
        real = targets != PAD
        logits = self.model(inputs)[real] @ self.model.item_vectors().T
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
def score_samples(model: SASRec, samples: Sequence[Sample]) -> Scores:
    """(n, c) SASRec scores of the samples' candidates; the model is left in evaluation mode."""
    model.eval()
    z = model.represent([sample.history for sample in samples])
    candidates = torch.tensor([sample.candidates for sample in samples], device=z.device)
    return model.score(z, candidates).float().cpu().numpy()


def fit_encoder(task: Task) -> tuple[SASRec, TrainingReport]:
    """The frozen encoder of this (dataset, split, seed), read from the task's folder or trained into it.

    Returns:
        The encoder, and how its training went, also where another method trained it.
    """
    config, samples = task.config.encoder, task.samples
    validation = [samples.seed, task.config.data.validation_positions]
    key = sha256_of([vars(config), samples.dataset, samples.split, *validation, task.seed])[:12]
    path = task.folder / "encoders" / f"sasrec-{key}.safetensors"
    torch.manual_seed(task.seed)
    model = SASRec(len(task.dataset.catalogue), config)
    if path.is_file():
        try:
            return model, _read_encoder(path, model)
        except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
            task.emit(Notice(f"{path} is damaged ({error}); training the encoder again", "warning"))
    job = EncoderJob(model, training_sequences(task), samples.validation, task.seed)
    epoch = max(1, -(-len(job.pieces) // config.batch_size))
    schedule = Schedule(
        steps=epoch * config.epochs,
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
    label, checkpoints = ("sasrec", task.seed), task.folder / "checkpoints" / path.stem
    report = train(job, len(job.pieces), schedule, checkpoints, label, task.emit, task.should_stop)
    with atomic_path(path) as temporary:
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, temporary, {"report": json.dumps(asdict(report))})
    clear_checkpoints(checkpoints)
    chosen, trained = report.best_step // epoch, report.steps // epoch
    task.emit(Notice(f"sasrec, seed {task.seed}: validation chose epoch {chosen} of {trained}"))
    return model.freeze(), report


def _read_encoder(path: Path, model: SASRec) -> TrainingReport:
    """Loads a trained encoder into `model`, frozen, and tells how its training went."""
    model.load_state_dict(load_file(path))
    model.freeze()
    with safe_open(path, "pt") as file:
        return TrainingReport(**json.loads(file.metadata()["report"]))


class SASRecRecommender(Recommender):
    """The encoder as a method of its own."""

    name = "sasrec"

    def fit(self, task: Task) -> FitReport:
        """Trains the encoder, or takes the one that another method of this run trained."""
        self.model, report = fit_encoder(task)
        parameters = sum(p.numel() for p in self.model.parameters())
        return FitReport(
            trainable_parameters=parameters,
            total_parameters=parameters,
            train_seconds=report.seconds,
            samples_per_second=report.samples_per_second,
            curve=report.curve,
        )

    @torch.no_grad()
    def score(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Scores:
        """Inner products of the state and the candidates' vectors."""
        z = self.model.represent(histories)
        ids = torch.tensor(np.asarray(candidates, dtype=np.int64), device=z.device)
        return self.model.score(z, ids).float().cpu().numpy()

    def save(self, folder: Path) -> None:
        """Writes the weights."""
        save_encoder(self.model, folder)

    def load(self, folder: Path, task: Task) -> None:
        """Reads the weights."""
        self.model = load_encoder(folder, task)


ENCODER_FILE = "encoder.safetensors"


def save_encoder(model: SASRec, folder: Path) -> None:
    """Writes an encoder's weights into a run folder."""
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / ENCODER_FILE
    )


def load_encoder(folder: Path, task: Task) -> SASRec:
    """The frozen encoder of a run folder.

    Raises:
        ResultError: the file is missing, damaged, or of another shape.
    """
    model = SASRec(len(task.dataset.catalogue), task.config.encoder)
    try:
        model.load_state_dict(load_file(folder / ENCODER_FILE))
    except (OSError, SafetensorError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ResultError(f"{folder / ENCODER_FILE}: {first}", "run the benchmark again") from error
    return model.freeze()
