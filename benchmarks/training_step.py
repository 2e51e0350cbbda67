"""What the gate costs: iLoRA's training step beside LoRA's, alternated in one process on the same batches.

    python benchmarks/training_step.py [--steps 40] [--batch 16] [--micro-batch 4] [--layers 10] [--threads 2]

Both methods are built from the same settings (the quick preset's, on MovieLens-100K with the embedded model,
fetched on first use) around one untrained encoder. A step is what the training loop does for a batch:
forward, loss and backward for each micro-batch, samples of similar length together, then clipping and AdamW.
Each round gives both methods the same batch, and who goes first changes every round, so that whatever slows
the machine slows both.

Printed: median seconds of each, tokens per second, and the median of the rounds' ratios iLoRA / LoRA with a
95 % bootstrap interval. Run it on a quiet machine; on a busy one, `--threads 1` suffers least.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from core.config.presets import preset_config, with_overrides
from core.config.settings import RunConfig
from core.data.card_files import load_card
from core.data.loading import load_task_data
from core.data.samples import CANDIDATES, draw_candidates
from core.data.types import Dataset, Sample, Samples
from core.encoders.sasrec import SASRec
from core.hardware import describe
from core.ilora.model import AdaptedModel
from core.lm.loading import load_llm

WARM_UP = 3


@dataclass(frozen=True)
class Batch:
    """What one step is trained on."""

    histories: list[tuple[int, ...]]
    candidates: list[tuple[int, ...]]
    targets: list[int]


def make_batches(dataset: Dataset, samples: Samples, size: int, count: int) -> list[Batch]:
    """`count` seeded batches of training samples with their candidates."""
    draw = random.Random(0)
    return [make_batch(dataset, draw.sample(samples.train, size)) for _ in range(count)]


def make_batch(dataset: Dataset, cases: Sequence[Sample], candidates: int = CANDIDATES) -> Batch:
    """These cases, each with as many candidates."""
    rows = [
        draw_candidates(
            dataset.name,
            dataset.sequences[case.user],
            case.position,
            case.target,
            len(dataset.catalogue),
            candidates,
        )
        for case in cases
    ]
    targets = [row.index(case.target) for row, case in zip(rows, cases, strict=True)]
    return Batch([case.history for case in cases], rows, targets)


def untrained_encoder(config: RunConfig, dataset: Dataset) -> SASRec:
    """An encoder that has learnt nothing, always the same."""
    torch.manual_seed(0)
    return SASRec(len(dataset.catalogue), config.encoder, dataset.rules.max_history).freeze()


def adapted(config: RunConfig, dataset: Dataset, gated: bool) -> AdaptedModel:
    """An untrained LoRA or iLoRA around an untrained encoder, the same for both."""
    encoder = untrained_encoder(config, dataset)
    llm, prompts = load_llm(config.model), load_card(dataset.name).prompts
    return AdaptedModel(llm, encoder, dataset.catalogue.titles, prompts, config, gated, 0)


def micro_batches(model: AdaptedModel, batch: Batch, size: int) -> list[Batch]:
    """A batch as the training loop cuts it: samples of similar length together."""
    length = model.ranker.prompt.length  # type: ignore[union-attr]
    order = sorted(range(len(batch.targets)), key=lambda place: length(batch.histories[place], ()))
    return [
        Batch(
            [batch.histories[place] for place in order[start : start + size]],
            [batch.candidates[place] for place in order[start : start + size]],
            [batch.targets[place] for place in order[start : start + size]],
        )
        for start in range(0, len(order), size)
    ]


class Trainable(Protocol):
    """What a training step asks of a model."""

    def train(self) -> None: ...

    def parameter_groups(self) -> list[dict[str, Any]]: ...

    def loss(
        self,
        histories: Sequence[Sequence[int]],
        candidates: Sequence[Sequence[int]],
        targets: Sequence[int],
    ) -> AbstractContextManager[Tensor]: ...


Model = TypeVar("Model", bound=Trainable)


class Stepper(Generic[Model]):
    """One method and its optimizer."""

    def __init__(self, model: Model) -> None:
        self.model = model
        groups = [
            {"params": group["params"], "weight_decay": group["weight_decay"]}
            for group in model.parameter_groups()
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4)
        self.parameters = [p for group in groups for p in group["params"]]
        model.train()

    def step(self, parts: Sequence[Batch]) -> float:
        """Seconds of one training step over the micro-batches of a batch."""
        started = time.perf_counter()
        samples = sum(len(part.targets) for part in parts)
        self.optimizer.zero_grad(set_to_none=True)
        for part in parts:
            with self.model.loss(part.histories, part.candidates, part.targets) as loss:
                (loss / samples).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - started


def alternate(first: Stepper[Any], second: Stepper[Any], steps: Sequence[Sequence[Batch]]) -> np.ndarray:
    """(rounds, 2) seconds of both on every batch; who goes first changes every round."""
    seconds = np.empty((len(steps), 2))
    for round_, parts in enumerate(steps):
        for place in (0, 1) if round_ % 2 == 0 else (1, 0):
            seconds[round_, place] = (first, second)[place].step(parts)
    return seconds


def interval(values: np.ndarray, draws: int = 10_000) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    picks = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(np.median(values[picks], axis=1), (0.025, 0.975))
    return float(low), float(high)


def tokens(model: AdaptedModel, parts: Sequence[Batch]) -> int:
    """Tokens that the adapted layers read, padding left out."""
    prompt = model.ranker.prompt
    rows = [prompt.pack(part.histories, part.candidates) for part in parts]  # type: ignore[union-attr]
    return sum(int((packed.branch >= 0).sum()) for packed in rows)


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--steps", type=int, default=40, help="measured rounds")
    options.add_argument("--batch", type=int, default=16, help="samples in a step")
    options.add_argument("--micro-batch", type=int, default=4, help="samples in one forward pass")
    options.add_argument("--layers", type=int, default=None, help="adapted upper layers; 0 for all")
    options.add_argument("--quantize", default=None, help="nf4, int8 or none")
    options.add_argument(
        "--threads", type=int, default=None, help="CPU threads; PyTorch's choice if left out"
    )
    given = options.parse_args()
    if given.threads is not None:
        torch.set_num_threads(given.threads)

    config = preset_config("quick")
    if given.layers is not None:
        config = with_overrides(config, adapter={"layers": given.layers})
    if given.quantize is not None:
        config = with_overrides(config, model={"quantize": given.quantize})
    dataset, samples = load_task_data(config.data)
    lora, ilora = (Stepper(adapted(config, dataset, gated)) for gated in (False, True))
    batches = make_batches(dataset, samples, given.batch, WARM_UP + given.steps)
    steps = [micro_batches(lora.model, batch, given.micro_batch) for batch in batches]
    alternate(lora, ilora, steps[:WARM_UP])
    measured = steps[WARM_UP:]
    seconds = alternate(lora, ilora, measured)
    read = np.array([tokens(lora.model, parts) for parts in measured])
    ratios = seconds[:, 1] / seconds[:, 0]
    low, high = interval(ratios)
    print(f"{describe()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(
        f"{config.model.name} {config.model.quantize}, {config.adapter.layers or 'all'} adapted layers, "
        f"rank {config.adapter.rank}, {config.adapter.experts} experts, "
        f"batch {given.batch} in micro-batches of {given.micro_batch}, {given.steps} rounds"
    )
    for name, column in (("LoRA", 0), ("iLoRA", 1)):
        median = float(np.median(seconds[:, column]))
        speed = float(np.median(read / seconds[:, column]))
        print(f"{name:6} {median:.4f} s a step (median), {speed:,.0f} tokens/s")
    print(f"iLoRA / LoRA: {np.median(ratios):.4f}  (95 % interval {low:.4f} to {high:.4f})")


if __name__ == "__main__":
    main()
