"""Methods that train an adapter on the language model: LoRA, iLoRA, TALLRec and LLaRA."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.config.checks import check, sha256_of
from core.config.choices import HARD_AMONG
from core.config.saved import lasting
from core.data.samples import training_candidates
from core.encoders.base import Encoder
from core.encoders.job import score_samples, target_columns
from core.evaluation.answer_matching import WrittenAnswer
from core.evaluation.metrics import Scores, ranks_from_scores, summarize
from core.events import ShouldStop
from core.hardware import release_memory
from core.ilora.carrying import carry_over
from core.ilora.model import AdaptedModel
from core.lm.checking import load_checked
from core.lm.likelihood import AT_TEST, AnswerRanker, Wording
from core.lm.listwise import ListwiseRanker
from core.methods import METHODS, settle
from core.recommenders.base import FitReport, Recommender, Task
from core.recommenders.batching import (
    answer_in_batches,
    notes_on_answers,
    score_in_batches,
    shared_ranks,
    validation_cases,
)
from core.recommenders.encoder_data import notes_on_age
from core.recommenders.encoders import fit_encoder, load_encoder, save_encoder
from core.recommenders.hard_negatives import HardNegatives
from core.run_time import run_seconds
from core.stages import Watch
from core.training import parallel
from core.training.checkpoints import clear_checkpoints
from core.training.curriculum import is_hybrid, pick_template
from core.training.job import Schedule
from core.training.loop import train


class AdapterJob:
    """Trains an adapted model on windows of the training users' sequences."""

    def __init__(self, model: AdaptedModel, task: Task, method: str = "") -> None:
        self.model, self.task, self.method = model, task, method
        self.samples = task.samples.train
        self.settings = task.config.training
        self.validation = validation_cases(task, self.settings.validation_cases)
        self.hard: HardNegatives | None = None
        if self.settings.negatives == "hard":
            self.hard = HardNegatives(model.encoder, task)
            self.validation = [self.hard.of_validation(case) for case in self.validation]
        self.steps = -(-self.settings.samples // self.settings.batch_size)
        self.hybrid = True
        model.train()

    def begin(self, step: int) -> None:
        """Decides, before an optimizer step, whether its batch is hybrid; always without a curriculum."""
        self.hybrid = not self.settings.curriculum or is_hybrid(self.task.seed, step, self.steps)

    def wording(self, samples: Sequence[int], epoch: int) -> Wording:
        """How the samples of a micro-batch are asked: a template for each, item vectors for all or none."""
        ranker = self.model.ranker
        if not isinstance(ranker, AnswerRanker):
            return AT_TEST
        count = len(ranker.prompt.templates)
        picked = [pick_template(self.task.seed, sample, epoch, count) for sample in samples]
        return Wording(picked, self.hybrid)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Adapter, projector and gate."""
        return self.model.parameter_groups()

    def terms(self, samples: Sequence[int], epoch: int) -> int:
        """One per sample."""
        del epoch
        return len(samples)

    def length(self, sample: int, epoch: int) -> int:
        """Tokens of the sample's history; the candidates' vary little."""
        del epoch
        ranker, history = self.model.ranker, self.samples[sample].history
        if isinstance(ranker, AnswerRanker):
            return len(history)
        return ranker.prompt.length(history, ())

    def candidates(self, sample: int, epoch: int) -> tuple[int, ...]:
        """The target among fresh negatives, drawn anew every epoch, the same for LoRA and iLoRA."""
        case, task, count = self.samples[sample], self.task, self.settings.candidates
        if self.hard is not None:
            return self.hard.candidates(case, count, salt=f"train-{epoch}")
        given = (task.dataset, task.samples, case, count, task.seed)
        return training_candidates(*given, salt=f"train-{epoch}")

    @contextmanager
    def loss(self, samples: Sequence[int], epoch: int) -> Iterator[tuple[Tensor, int]]:
        """The objective's loss, summed over samples; `validate` leaves the model in training mode."""
        cases = [self.samples[sample] for sample in samples]
        candidates = [self.candidates(sample, epoch) for sample in samples]
        targets = [row.index(case.target) for row, case in zip(candidates, cases, strict=True)]
        histories = [case.history for case in cases]
        with self.model.loss(histories, candidates, targets, self.wording(samples, epoch)) as loss:
            yield loss, len(samples)

    def validate(self, should_stop: ShouldStop) -> dict[str, float]:
        """Ranking metrics over validation users."""
        self.model.train(False)
        size = self.settings.micro_batch_size
        watch = Watch(self.task.emit, should_stop, self.method, self.task.seed)
        ranks = shared_ranks(self.model.scores, self.validation, size, watch)
        self.model.train()
        metrics = summarize(ranks[:, 0])
        return {**metrics, "n": float(len(self.validation))}

    def baseline(self) -> dict[str, float] | None:
        """What training starts from, where that is worth something: another run's adapter, or the encoder.

        With the encoder's prior it is the encoder's own ranking, whose worth is known.
        """
        if self.task.start is not None:
            return self.validate(self.task.should_stop)
        ranker = self.model.ranker
        if not isinstance(ranker, ListwiseRanker) or ranker.prior is None:
            return None
        scores = score_samples(self.model.encoder, self.validation)
        metrics = summarize(ranks_from_scores(scores, target_columns(self.validation)))
        return {**metrics, "n": float(len(self.validation))}

    def state(self) -> dict[str, Tensor]:
        """Every trained weight."""
        return self.model.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state` gave."""
        self.model.load_state(state)

    def gate(self) -> list[float] | None:
        """Mean expert weights since the last call."""
        return self.model.mean_gate()


def checkpoint_folder(task: Task, method: str) -> Path:
    """Where a run's checkpoints live: other settings or cases are another run, and go on from nothing.

    How a batch is cut into micro-batches is no such setting: a run that had too little memory goes on.
    """
    config = lasting(task.config)
    config.pop("chat", None)
    del config["answering"]  # how the model is asked afterwards changes nothing in how it is trained
    del config["training"]["micro_batch_size"], config["training"]["checkpointing"]
    key = sha256_of([config, task.samples.sha256])[:12]
    return task.folder / "checkpoints" / f"{method}-seed{task.seed}-{key}"


LONGEST_ROW = 400
"""Candidates that one packed row holds at test: the more, the more rarely a history is read again."""


class AdapterRecommender(Recommender):
    """What LoRA and iLoRA share: everything but the gate."""

    def build(self, task: Task, encoder: Encoder) -> AdaptedModel:
        """The untrained model of a task around a trained encoder."""
        card, watch = task.dataset.card, task.watch(self.name)
        llm = load_checked(task.config.model, watch)
        record = METHODS[self.name]
        given = (llm, encoder, task.texts, card.prompts, task.config, record.has_gate, task.seed, watch)
        model = AdaptedModel(*given, knows_user=record.knows_user)
        if task.samples.withheld:
            model.ranker.withhold(task.samples.withheld)
        return model

    def fit(self, task: Task) -> FitReport:
        """Trains adapter, projector and head; validation chooses among the checkpoints."""
        task = replace(task, config=settle(task.config, self.name))
        start = task.config.training.start
        check(
            bool(start) == (task.start is not None),
            f"these settings start from trained adapters ({start}), and none are given",
            "ilora-app bench --start-from DIR gives them",
        )
        with parallel.main_first():
            encoder, _ = fit_encoder(task)
        started = run_seconds()
        self.protocol = task.config.answering.protocol
        with parallel.main_first_if_whole():
            self.model = self.build(task, encoder)
            if task.start is not None:
                carry_over(self.model, task.start)
        release_memory()  # loading takes several times what it leaves
        loading = run_seconds() - started
        settings = task.config.training
        steps = -(-settings.samples // settings.batch_size)
        schedule = Schedule(
            steps=steps,
            batch_size=settings.batch_size,
            micro_batch_size=settings.micro_batch_size,
            learning_rate=settings.learning_rate,
            warmup_steps=round(settings.warmup * steps),
            final_rate=settings.final_rate,
            clip=settings.clip,
            validate_every=-(-steps // max(1, settings.validations)),
            seed=task.seed,
            loss_scaling=self.model.llm.dtype == torch.float16,
        )
        job = AdapterJob(self.model, task, self.name)
        label, folder = (self.name, task.seed), checkpoint_folder(task, self.name)
        report = train(job, len(job.samples), schedule, folder, label, task.emit, task.should_stop, job.begin)
        self.batch = settings.micro_batch_size
        self.model.train(False)
        self.model.round()
        notes = notes_on_age(task)
        if task.start is not None:
            notes.append(f"started from {task.start.name}; gate and projector, which read the encoder, anew")
        if job.hard is not None:
            notes.append(f"negatives of training and validation are of the encoder's best {HARD_AMONG}")
        if settings.item_tokens:
            notes.append("each item is a token; candidates are ranked by its likelihood as the next one")
        elif isinstance(self.model.ranker, AnswerRanker):
            notes += notes_on_answers(task)
        elif settings.encoder_prior:
            notes.append("the encoder's own score is part of the score, with a learned weight")
            if report.best_step == 0:
                notes.append("validation preferred the encoder alone to every trained checkpoint")
        return FitReport(
            trainable_parameters=sum(p.numel() for p in self.model.parameters().values()),
            adapter_parameters=self.model.count("adapter"),
            gate_parameters=self.model.count("gate"),
            total_parameters=self.model.total_parameters(),
            load_seconds=loading,
            train_seconds=report.seconds,
            samples_per_second=report.samples_per_second,
            curve=report.curve,
            notes=notes,
        )

    def score(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Scores:
        """Scores from one packed forward per batch."""
        self.model.train(False)
        return score_in_batches(self._scores, histories, candidates, self.batch, after=self.after_batch)

    def _scores(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Tensor:
        """Some at a time where candidates do not meet each other: a row of a whole catalogue is too long."""
        if not isinstance(self.model.ranker, ListwiseRanker) or len(candidates[0]) <= LONGEST_ROW:
            return self.model.scores(histories, candidates)
        starts = range(0, len(candidates[0]), LONGEST_ROW)
        parts = [[row[start : start + LONGEST_ROW] for row in candidates] for start in starts]
        return torch.cat([self.model.scores(histories, part) for part in parts], dim=1)

    def own_encoder(self) -> Encoder:
        """The encoder that slots and gate read."""
        return self.model.encoder

    def answers(
        self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]
    ) -> list[WrittenAnswer] | None:
        """What the model writes, under a protocol that asks for it."""
        ranker = self.model.ranker
        if self.protocol == "rank" or not isinstance(ranker, AnswerRanker):
            return None
        self.model.train(False)
        constrained = self.protocol == "constrained"

        def ask(rows: Sequence[Sequence[int]], offered: Sequence[Sequence[int]]) -> list[str]:
            return self.model.answers(rows, offered, constrained)

        return answer_in_batches(
            ask, ranker.prompt.title, histories, candidates, self.batch, self.after_batch
        )

    def expert_weights(self, histories: Sequence[Sequence[int]]) -> npt.NDArray[np.float32] | None:
        """omega, (n, K); None for LoRA."""
        return self.model.expert_weights(histories)

    def expert_weights_by_layer(self, histories: Sequence[Sequence[int]]) -> npt.NDArray[np.float32] | None:
        """omega, (n, layers, K), for an iLoRA whose layers have gates of their own."""
        return self.model.expert_weights_by_layer(histories)

    def save(self, folder: Path) -> None:
        """Writes a PEFT adapter, and beside it gate, projector, head and encoder."""
        self.model.save(folder)
        save_encoder(self.model.encoder, folder)

    def load(self, folder: Path, task: Task) -> None:
        """Loads the language model and the saved weights; every weight must be there and fit."""
        task = replace(task, config=settle(task.config, self.name))
        self.protocol = task.config.answering.protocol
        self.model = self.build(task, load_encoder(folder, task))
        self.model.load(folder)
        self.model.train(False)
        self.batch = task.config.training.micro_batch_size

    def forget(self, task: Task) -> None:
        """Drops the checkpoints of a run whose result is on disk."""
        task = replace(task, config=settle(task.config, self.name))
        clear_checkpoints(checkpoint_folder(task, self.name))


class Lora(AdapterRecommender):
    """Plain LoRA: one adapter for everybody."""

    name = "lora"


class LoraZ(AdapterRecommender):
    """LoRA with the user's vector in the prompt's question: the gate's knowledge without its experts."""

    name = "lora-z"


class Ilora(AdapterRecommender):
    """Instance-wise LoRA: the gate weighs K experts for every sequence (paper §3)."""

    name = "ilora"


class Tallrec(AdapterRecommender):
    """LoRA trained to write the next title after a prompt of text alone (TALLRec, arXiv 2305.00447)."""

    name = "tallrec"


class Llara(AdapterRecommender):
    """LoRA with item vectors in the prompt, learnt from text-only to hybrid (LLaRA, arXiv 2312.02445)."""

    name = "llara"
