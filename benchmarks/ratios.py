"""The speeds that decide what a machine is good for, as ratios of times measured side by side in one run.

    python benchmarks/ratios.py [--rounds 20] [--threads 2]

On MovieLens-100K with the embedded model in NF4, the quick preset's settings and adapters that are untrained
(time does not depend on what they learnt). Whatever is compared is alternated in one process, so that what
slows the machine slows both; the exception is memory, which a process of its own is asked for. Printed with
the target beside each; run it on a quiet machine.

- training / forward: tokens a second of a training step (forward, loss and backward of its micro-batches,
  then clipping and AdamW) over those of the frozen layers' plain causal forward on rows of the same shape,
  without adapter. Bound: .5 (a backward pass to the inputs of frozen layers costs another forward).
- iLoRA / LoRA: seconds of a training step.
- peak memory: of a process that loads the model and trains.
- ranking / forward: tokens a second of a packed pass over 20 candidates a user, adapter and gate included,
  over those of the same plain forward.
- 100 / 20 candidates: seconds a user.
- generation / ranking: seconds a user, the paper's prompt answered against one packed pass, with the numbers
  of one adapter, both in batches of the preset paper's size.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import answering
import numpy as np
import torch
from training_step import (
    Batch,
    Stepper,
    adapted,
    interval,
    make_batch,
    make_batches,
    micro_batches,
    untrained_encoder,
)

from core.config.presets import preset_config, with_overrides
from core.config.settings import RunConfig
from core.data.loading import load_task_data
from core.data.types import Dataset, Samples
from core.hardware import describe, most_memory
from core.ilora.model import AdaptedModel
from core.lm.decoder import decoder_view
from core.lm.loading import load_llm

WARM_UP = 3
Timed = Callable[[Any], object]
"""What is timed on a batch, or on a pair of batches."""


def plain_forward(config: RunConfig, model: AdaptedModel) -> Timed:
    """The frozen layers alone, causal, on rows of the model's shape; a language model of its own."""
    llm = load_llm(config.model)
    view = decoder_view(llm.decoder, model.cut, llm.depth, norm=True)

    @torch.no_grad()
    def forward(batch: Batch) -> None:
        shape = model.ranker.prompt.pack(batch.histories, batch.candidates).tokens.shape  # type: ignore[union-attr]
        hidden = torch.zeros(*shape, llm.width, dtype=llm.dtype, device=llm.device).normal_()
        view(inputs_embeds=hidden, use_cache=False)

    return forward


def seconds(ways: Sequence[Timed], batches: Sequence[Any], warm_up: int = WARM_UP) -> np.ndarray:
    """(rounds, ways) seconds on every batch after the first few; who goes first changes every round."""
    found = np.empty((len(batches), len(ways)))
    for number, batch in enumerate(batches):
        for place in range(len(ways)):
            way = (place + number) % len(ways)
            started = time.perf_counter()
            ways[way](batch)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            found[number, way] = time.perf_counter() - started
    return found[warm_up:]


def asking(dataset: Dataset, samples: Samples, size: int, count: int, candidates: int) -> list[Batch]:
    """Batches of test cases, with as many candidates as told."""
    cases = samples.test["spread"]
    return [
        make_batch(dataset, [cases[(start + place) % len(cases)] for place in range(size)], candidates)
        for start in range(0, count * size, size)
    ]


def ranking(model: AdaptedModel) -> Timed:
    """One packed pass."""

    @torch.no_grad()
    def rank(batch: Batch) -> None:
        model.train(False)
        model.scores(batch.histories, batch.candidates)

    return rank


def train_alone(config: RunConfig, rounds: int) -> None:
    """Trains and prints the peak of this process's memory in bytes."""
    dataset, samples = load_task_data(config.data)
    stepper, training = Stepper(adapted(config, dataset, True)), config.training
    for batch in make_batches(dataset, samples, training.batch_size, rounds):
        stepper.step(micro_batches(stepper.model, batch, training.micro_batch_size))
    print(most_memory())


def say(what: str, ratios: np.ndarray, target: str) -> None:
    """A line: the median of the rounds' ratios with its interval."""
    low, high = interval(ratios)
    print(f"{what:32} {np.median(ratios):7.3f}  [{low:.3f}, {high:.3f}]   {target}", flush=True)


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=20, help="measured rounds")
    options.add_argument("--users", type=int, default=4, help="users in a batch of ranking")
    options.add_argument("--threads", type=int, default=None, help="CPU threads; PyTorch's own if left out")
    options.add_argument("--memory-alone", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    config = preset_config("quick")
    if given.memory_alone:
        train_alone(config, given.rounds)
        return
    print(f"{describe()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    size, micro = config.training.batch_size, config.training.micro_batch_size
    print(
        f"{config.model.name} {config.model.quantize}, {config.adapter.layers} adapted layers, "
        f"{given.rounds} rounds; batches of {size} by {micro} (training) and {given.users} (ranking); "
        "medians, 95 % intervals"
    )
    command = [sys.executable, __file__, "--memory-alone", "--rounds", str(given.rounds)]
    command += [] if given.threads is None else ["--threads", str(given.threads)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    dataset, samples = load_task_data(config.data)
    lora, ilora = (Stepper(adapted(config, dataset, gated)) for gated in (False, True))
    plain = plain_forward(config, ilora.model)
    batches = make_batches(dataset, samples, size, WARM_UP + given.rounds)
    steps = [micro_batches(ilora.model, batch, micro) for batch in batches]
    trained = seconds([lambda parts: [plain(part) for part in parts], lora.step, ilora.step], steps)
    say("training / forward, iLoRA", trained[:, 0] / trained[:, 2], "target .45, bound .5")
    say("training / forward, LoRA", trained[:, 0] / trained[:, 1], "target .45, bound .5")
    say("iLoRA / LoRA, training step", trained[:, 2] / trained[:, 1], "target at most 1.03")
    print(f"{'peak memory of training':32} {peak / 1e9:7.2f} GB                 target at most 1.5")

    rank = ranking(ilora.model)
    few, many = (
        asking(dataset, samples, given.users, WARM_UP + given.rounds, candidates) for candidates in (20, 100)
    )
    ways = [lambda pair: plain(pair[0]), lambda pair: rank(pair[0]), lambda pair: rank(pair[1])]
    ranked = seconds(ways, list(zip(few, many, strict=True)))
    say("ranking / forward", ranked[:, 0] / ranked[:, 1], "target at least .85")
    say("100 / 20 candidates", ranked[:, 2] / ranked[:, 1], "target at most 5")

    words = with_overrides(config, training={"objective": "language-model"})
    encoder = untrained_encoder(config, dataset)
    asked = answering.ways(*(answering.build(each, dataset, encoder) for each in (config, words)))
    tests, batch = samples.test["spread"], preset_config("paper").training.micro_batch_size
    rounds = [[tests[(number * 16 + place) % len(tests)] for place in range(16)] for number in range(6)]
    answering.time_all(asked, rounds[:1], batch)
    times = answering.time_all(asked, rounds[1:], batch)
    for name in ("generation, titles", "generation, free"):
        say(f"{name} / ranking", times[name] / times["packed ranking"], "target at least 10")


if __name__ == "__main__":
    main()
