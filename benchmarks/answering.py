"""What writing an answer costs beside ranking: packed ranking and batched generation with the same adapter.

    python benchmarks/answering.py [--users 32] [--batch 16] [--layers 10] [--quantize nf4] [--threads 2]

Two models share every number of one iLoRA adapter and its gate (random, on the quick preset's layers, on
MovieLens-100K with the embedded model): one ranks the 20 candidates of a user in a packed forward pass, the
other is asked by the paper's prompt. It writes within the candidates' titles, so that its answers are as long
as those of a trained adapter, which stops at a title's end; what an untrained one writes freely runs on to
the limit, and is timed too, as the upper end. Each round asks for the same users in every way, in an order
that changes every round.

Printed: ms per user (median over rounds), and the median of the rounds' ratios to
packed ranking with a 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from training_step import interval, untrained_encoder

from core.config.presets import preset_config, with_overrides
from core.config.settings import RunConfig
from core.data.card_files import load_card
from core.data.loading import load_task_data
from core.data.types import Dataset, Sample
from core.encoders.sasrec import SASRec
from core.hardware import describe
from core.ilora.model import AdaptedModel
from core.lm.loading import load_llm

Way = Callable[[Sequence[Sample]], None]


def build(config: RunConfig, dataset: Dataset, encoder: SASRec) -> AdaptedModel:
    """An untrained iLoRA whose adapter and gate are random, the same for every objective."""
    prompts = load_card(dataset.name).prompts
    llm = load_llm(config.model)
    model = AdaptedModel(llm, encoder, dataset.catalogue.titles, prompts, config, True, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in sorted(model.parameters().items()):
            if not name.startswith("ranker."):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.01)
    model.train(False)
    return model


def ways(ranking: AdaptedModel, writing: AdaptedModel) -> dict[str, Way]:
    """The ways to ask, by name."""

    def rank(cases: Sequence[Sample]) -> None:
        with torch.no_grad():
            ranking.scores([case.history for case in cases], [case.candidates for case in cases]).cpu()

    def write(constrained: bool) -> Way:
        def ask(cases: Sequence[Sample]) -> None:
            writing.answers([c.history for c in cases], [c.candidates for c in cases], constrained)

        return ask

    return {"packed ranking": rank, "generation, titles": write(True), "generation, free": write(False)}


def time_all(asked: dict[str, Way], rounds: Sequence[Sequence[Sample]], batch: int) -> dict[str, np.ndarray]:
    """Milliseconds per user of every way in every round."""
    found: dict[str, list[float]] = {name: [] for name in asked}
    names = list(asked)
    for number, cases in enumerate(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            for start in range(0, len(cases), batch):
                asked[name](cases[start : start + batch])
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            found[name].append(1000 * (time.perf_counter() - started) / len(cases))
    return {name: np.array(values) for name, values in found.items()}


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--users", type=int, default=32, help="test cases in a round")
    options.add_argument("--rounds", type=int, default=4, help="measured rounds, each with users of its own")
    options.add_argument("--batch", type=int, default=16, help="users asked at once, in every way")
    options.add_argument("--layers", type=int, default=None, help="adapted upper layers; 0 for all")
    options.add_argument("--quantize", default=None, help="nf4, int8 or none")
    options.add_argument("--threads", type=int, default=None, help="CPU threads; PyTorch's own if left out")
    given = options.parse_args()
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    changes = {
        "adapter": {} if given.layers is None else {"layers": given.layers},
        "model": {} if given.quantize is None else {"quantize": given.quantize},
    }
    config = with_overrides(preset_config("quick"), **changes)
    words = with_overrides(config, training={"objective": "language-model"})
    dataset, samples = load_task_data(config.data)
    encoder = untrained_encoder(config, dataset)
    asked = ways(build(config, dataset, encoder), build(words, dataset, encoder))
    cases = samples.test["spread"]
    rounds = [
        [cases[(number * given.users + place) % len(cases)] for place in range(given.users)]
        for number in range(given.rounds + 1)
    ]
    time_all(asked, [rounds[0][: given.batch]], given.batch)  # warm-up
    found = time_all(asked, rounds[1:], given.batch)
    print(f"{describe()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(
        f"{config.model.name} {config.model.quantize}, {config.adapter.layers or 'all'} adapted layers, "
        f"{given.rounds} rounds of {given.users} users, batch {given.batch}, 20 candidates"
    )
    for name, values in found.items():
        ratios = values / found["packed ranking"]
        low, high = interval(ratios)
        print(
            f"{name:20} {np.median(values):8.1f} ms a user   "
            f"{np.median(ratios):6.2f} x packed ranking [{low:.2f}, {high:.2f}]"
        )


if __name__ == "__main__":
    main()
