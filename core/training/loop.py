"""The one training loop: AdamW, cosine with warm-up, accumulation, validation, exact resumption.

Several processes (see `core.training.parallel`) each take their share of every batch; what they learn
is what one process would have learnt, and only the main one writes and speaks.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from core.errors import Interrupted, TrainingError
from core.events import Emit, Evaluated, Notice, Saved, ShouldStop, StageStarted, StepLogged, Stopped
from core.hardware import keep_freed_memory
from core.run_time import run_seconds
from core.training import parallel
from core.training.checkpoints import Checkpoint, clear_checkpoints, load_latest, save_checkpoint
from core.training.job import Job, Progress, Pruned, Schedule, TrainingReport
from core.training.optimizers import make_optimizer

LOG_SECONDS = 0.5
FIRST_SCALE = 2.0**12
"""Of the loss under fp16: far from both ends of its range, so that a short run loses no step to a search."""


class Loop:
    """Trains a job; see `train`."""

    def __init__(
        self,
        job: Job,
        n_samples: int,
        schedule: Schedule,
        folder: Path,
        label: tuple[str, int],
        emit: Emit,
        should_stop: ShouldStop,
        before_step: Callable[[int], None] | None = None,
    ) -> None:
        self.before_step = before_step
        self.job, self.n, self.schedule, self.folder = job, n_samples, schedule, folder
        self.method, self.seed = label
        self.emit, self.should_stop = emit, should_stop
        self.micro_batch_size = schedule.micro_batch_size
        self.optimizer = make_optimizer([{**group, "lr": 0.0} for group in job.parameter_groups()])
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.scaler = torch.amp.GradScaler(
            self.parameters[0].device.type, FIRST_SCALE, growth_interval=100, enabled=schedule.loss_scaling
        )
        self._optimizer_name = type(self.optimizer).__name__
        self.progress = Progress()
        self.best_state: dict[str, Tensor] | None = None
        self._order: tuple[int, list[int]] | None = None
        self._logged = 0.0
        self._loss_sum, self._loss_steps = 0.0, 0

    def run(self) -> TrainingReport:
        """Trains to the end, or raises `Interrupted` after saving."""
        if not self._resume():
            self._start()
        self._align()
        schedule, progress = self.schedule, self.progress
        if progress.step and self._validation_due() and not self._validated():
            self._validate()
            self._save()
        self.emit(StageStarted(self.method, self.seed, "train", schedule.steps))
        saved_at = run_seconds()
        while progress.step < schedule.steps and not self._exhausted():
            if parallel.anyone(self.should_stop()):
                self._stop("train")
            started = run_seconds()
            self._whole_step()
            progress.step += 1
            progress.seconds += run_seconds() - started
            self._log()
            if self._validation_due():
                self._validate()
                self._save()
                saved_at = run_seconds()
            elif run_seconds() - saved_at > schedule.checkpoint_seconds:
                self._save()
                saved_at = run_seconds()
        if self.best_state is not None:
            self.job.load_state(self.best_state)
        seen = progress.step * schedule.batch_size
        return TrainingReport(
            steps=progress.step,
            best_step=max(progress.best_step, 0),
            seconds=progress.seconds,
            samples_per_second=seen / progress.seconds if progress.seconds else 0.0,
            curve=list(progress.curve),
        )

    def samples_of(self, step: int) -> list[tuple[int, int]]:
        """The (sample, epoch) pairs of a step: a new seeded permutation every epoch, no sample dropped."""
        pairs = []
        for k in range(step * self.schedule.batch_size, (step + 1) * self.schedule.batch_size):
            epoch = k // self.n
            if self._order is None or self._order[0] != epoch:
                generator = torch.Generator().manual_seed(self.schedule.seed * 1_000_003 + epoch)
                self._order = (epoch, torch.randperm(self.n, generator=generator).tolist())
            pairs.append((self._order[1][k % self.n], epoch))
        return pairs

    def _whole_step(self) -> None:
        """A step; one that is stopped in its middle leaves nothing behind, so that it can be taken again."""
        trained = {parameter.data_ptr() for parameter in self.parameters}
        noise, cuda = torch.get_rng_state(), _cuda_noise()
        counted = {
            name: tensor.clone()
            for name, tensor in self.job.state().items()
            if tensor.data_ptr() not in trained
        }
        try:
            self._step()
        except Interrupted:
            self.optimizer.zero_grad(set_to_none=True)
            self.job.load_state({**self.job.state(), **counted})
            torch.set_rng_state(noise)
            torch.cuda.set_rng_state_all(cuda)
            self._stop("train")

    def _step(self) -> None:
        rate = self.schedule.rate(self.progress.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate * rate * group["rate"]
        if self.before_step is not None:
            self.before_step(self.progress.step)
        pairs = self.samples_of(self.progress.step)
        if parallel.rank():  # noise of its own, which needs no place in a checkpoint
            torch.manual_seed(hash((self.schedule.seed, self.progress.step, parallel.rank())))
        generator_state = torch.get_rng_state()
        while True:
            try:
                total = self._accumulate(pairs)
                break
            except torch.OutOfMemoryError as error:
                self._check_cut(error)
                self.micro_batch_size = (self.micro_batch_size + 1) // 2
                self.emit(Notice(f"out of memory: micro-batch is now {self.micro_batch_size}", "warning"))
                self.optimizer.zero_grad(set_to_none=True)
                torch.set_rng_state(generator_state)
                torch.cuda.empty_cache()
        total = parallel.add_gradients(self.parameters, total)
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.schedule.clip)
        too_large = not bool(torch.isfinite(norm))
        if not math.isfinite(total) or (too_large and self.scaler.get_scale() <= 1):
            raise TrainingError(
                f"{self.method}: the loss or its gradient is not a number at step {self.progress.step + 1}",
                "lower --learning-rate, or use --quantize none to see whether quantization is the cause",
            )
        self.scaler.step(self.optimizer)  # leaves out a step whose scaled gradients were too large
        self.scaler.update()
        self._loss_sum += total
        self._loss_steps += 1

    def _check_cut(self, error: torch.OutOfMemoryError) -> None:
        """Raises `TrainingError` unless smaller micro-batches can help out of an error of memory."""
        if parallel.is_sharded():  # the others would wait for layers that this process does not run
            raise TrainingError(
                f"{self.method}: out of memory with {self.micro_batch_size} samples at a time",
                "lower --micro-batch, or launch more processes",
            ) from error
        if self.micro_batch_size == 1:
            raise TrainingError(
                f"{self.method}: out of memory with one sample at a time",
                "use --quantize nf4, a smaller --model or fewer --layers",
            ) from error

    def _accumulate(self, pairs: list[tuple[int, int]]) -> float:
        """This process's part of the mean loss over all terms of a batch, and of its gradients.

        However the batch is cut into shares and micro-batches, the parts add up to the same.
        """
        self.optimizer.zero_grad(set_to_none=True)
        pairs = sorted(pairs, key=lambda pair: self.job.length(*pair))
        terms = max(1, sum(self.job.terms(samples, epoch) for samples, epoch in self._pieces(pairs)))
        total = 0.0
        own = self._pieces(pairs[parallel.rank() :: parallel.size()])
        for place, (samples, epoch) in enumerate([*own, *self._repeats(pairs, len(own))]):
            with self.job.loss(samples, epoch) as (loss, count):
                summed = loss if place < len(own) else 0 * loss
                if count:
                    self.scaler.scale(summed / terms).backward()  # type: ignore[no-untyped-call]
                    total += float(summed.detach()) / terms
        return total

    def _repeats(self, pairs: list[tuple[int, int]], own: int) -> list[tuple[list[int], int]]:
        """Micro-batches that count for nothing: a sharded model is run equally often in every process."""
        if not parallel.is_sharded():
            return []
        count = parallel.size()
        most = max(len(self._pieces(pairs[rank::count])) for rank in range(count))
        return self._pieces(pairs)[:1] * (most - own)

    def _pieces(self, pairs: list[tuple[int, int]]) -> list[tuple[list[int], int]]:
        """Micro-batches, each of one epoch."""
        pieces = []
        for start in range(0, len(pairs), self.micro_batch_size):
            part = pairs[start : start + self.micro_batch_size]
            for epoch in sorted({epoch for _, epoch in part}):
                pieces.append(([sample for sample, e in part if e == epoch], epoch))
        return pieces

    def _align(self) -> None:
        """Gives every process the main one's weights, and what its layers counted for themselves."""
        if parallel.size() > 1:
            self.job.load_state(parallel.same_for_all(self.job.state()))

    def _validation_due(self) -> bool:
        step, every = self.progress.step, self.schedule.validate_every
        return step == self.schedule.steps or (every > 0 and step % every == 0)

    def _validated(self) -> bool:
        curve = self.progress.curve
        return bool(curve and curve[-1]["step"] == self.progress.step)

    def _exhausted(self) -> bool:
        return 0 < self.schedule.patience <= self.progress.stale

    def _start(self) -> None:
        """Takes note of what the untrained job is worth, where that is known."""
        metrics = self.job.baseline()
        if metrics is not None:
            self._judge(metrics, loss=None)

    def _validate(self) -> None:
        self.emit(StageStarted(self.method, self.seed, "validate"))
        self._align()
        metrics: dict[str, float] | None = None
        with contextlib.suppress(Interrupted):
            metrics = self.job.validate(self.should_stop)
        if parallel.anyone(metrics is None) or metrics is None:
            self._stop("validate")
        self._judge(metrics, self._mean_loss())

    def _judge(self, metrics: dict[str, float], loss: float | None) -> None:
        """Adds a validation to the curve and keeps the weights if they are the best so far."""
        progress, value = self.progress, metrics[self.schedule.criterion]
        if not math.isfinite(value):
            raise TrainingError(
                f"{self.method}: validation {self.schedule.criterion} is not a number",
                "lower the learning rate",
            )
        shown = {name: metric for name, metric in metrics.items() if name != "n"}
        known_loss = {} if loss is None else {"loss": loss}
        progress.curve.append({"step": progress.step, **known_loss, **shown})
        if value > progress.best:
            progress.best, progress.best_step, progress.stale = value, progress.step, 0
            self.best_state = {name: tensor.detach().clone() for name, tensor in self.job.state().items()}
        else:
            progress.stale += 1
        self.emit(
            Evaluated(self.method, self.seed, "validation", int(metrics.get("n", 0)), shown, progress.step)
        )

    def _mean_loss(self) -> float:
        mean = self._loss_sum / self._loss_steps if self._loss_steps else 0.0
        self._loss_sum, self._loss_steps = 0.0, 0
        return mean

    def _log(self) -> None:
        now, progress = run_seconds(), self.progress
        if now - self._logged < LOG_SECONDS and progress.step != self.schedule.steps:
            return
        self._logged = now
        per_step = progress.seconds / progress.step
        self.emit(
            StepLogged(
                self.method,
                self.seed,
                "train",
                progress.step,
                self.schedule.steps,
                loss=self._loss_sum / self._loss_steps if self._loss_steps else None,
                samples_per_second=self.schedule.batch_size / per_step if per_step else None,
                seconds_left=(self.schedule.steps - progress.step) * per_step,
                learning_rate=self.optimizer.param_groups[0]["lr"],
                gate=self.job.gate(),
                gpu_memory=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
            )
        )

    def _stop(self, stage: str) -> NoReturn:
        self._save()
        parallel.wait()  # or a launcher that sees one process gone might end the one that saves
        self.emit(Stopped(self.method, self.seed, stage, self.progress.step))
        raise Interrupted(f"{self.method} stopped at step {self.progress.step}; the same command goes on")

    def _save(self) -> None:
        if not parallel.is_main():
            return
        path = save_checkpoint(
            self.folder,
            Checkpoint(
                step=self.progress.step,
                validated=self._validated(),
                progress={
                    **vars(self.progress),
                    "loss_sum": self._loss_sum,
                    "loss_steps": self._loss_steps,
                    "loss_scale": self.scaler.state_dict(),
                    "optimizer": self._optimizer_name,
                },
                weights=self.job.state(),
                best=self.best_state or {},
                optimizer=self.optimizer.state_dict(),
                generator=torch.get_rng_state(),
                cuda=_cuda_noise(),
            ),
        )
        self.emit(Saved("checkpoint", str(path)))

    def _resume(self) -> bool:
        """Goes back to the last complete checkpoint; says whether there was one."""
        checkpoint, problems = parallel.from_main(lambda: load_latest(self.folder))
        for problem in problems:
            self.emit(Notice(problem, "warning"))
        if checkpoint is None:
            return False
        record = dict(checkpoint.progress)
        self._loss_sum, self._loss_steps = record.pop("loss_sum"), record.pop("loss_steps")
        if scale := record.pop("loss_scale", {}):
            self.scaler.load_state_dict(scale)
        if (made_by := record.pop("optimizer", self._optimizer_name)) != self._optimizer_name:
            raise TrainingError(
                f"{self.folder} was left by a machine with {made_by}; here it is {self._optimizer_name}",
                "go on where it was started, or remove that folder to start anew",
            )
        self.progress = Progress(**record)
        self.job.load_state(checkpoint.weights)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.best_state = checkpoint.best or None
        torch.set_rng_state(checkpoint.generator)
        if len(checkpoint.cuda) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(checkpoint.cuda)
        self.emit(Notice(f"{self.method}, seed {self.seed}: going on from step {self.progress.step}"))
        return True


def _cuda_noise() -> list[Tensor]:
    """Where the GPUs' random numbers stand; empty without a GPU."""
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def train(
    job: Job,
    n_samples: int,
    schedule: Schedule,
    folder: Path,
    label: tuple[str, int],
    emit: Emit,
    should_stop: ShouldStop,
    before_step: Callable[[int], None] | None = None,
) -> TrainingReport:
    """Trains a job from the start or its last complete checkpoint; ends with the best weights loaded.

    Args:
        job: what is trained.
        n_samples: size of the training set; samples are named 0 .. n_samples - 1.
        schedule: steps, rates, validation.
        folder: where checkpoints live; they stay there until `clear_checkpoints`.
        label: (method, seed), carried by every event.
        emit: receives progress, at most twice a second.
        should_stop: asked before every step.
        before_step: told the number (0-based) of every step before it, counted over all epochs and sessions.

    Raises:
        Interrupted: `should_stop` said so; a checkpoint is on disk.
        Pruned: `emit` said so; no checkpoint is left.
        TrainingError: the loss is not a number.
    """
    keep_freed_memory()
    torch.manual_seed(schedule.seed)
    try:
        return Loop(job, n_samples, schedule, folder, label, emit, should_stop, before_step).run()
    except Pruned:
        clear_checkpoints(folder)
        raise
