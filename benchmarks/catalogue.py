"""What ranking the whole catalogue costs: a language model by the number of items it is passed, and encoders.

    python benchmarks/catalogue.py [--users 8] [--rounds 3] [--passed 20 100 500 0] [--threads 2]
    python benchmarks/catalogue.py --encoders steam

With the demo adapter (iLoRA on MovieLens-100K, the embedded model in NF4): the encoder's best N items of a
test user are ranked by the adapter, as under `bench --candidates catalogue --retrieve N`; 0 stands for all.
Rounds alternate between the Ns, each with the same users. Printed: ms per user, the median over rounds and
its range; the processor's ms per user, all threads added up, which a busy machine leaves as they are; tokens
per user; and what N items would take at the pace of the N before it.

`--encoders` ranks every item of a dataset for each user's last one (leave-one-out) with an untrained SASRec
(time does not depend on what it learnt) and with popularity, and prints the seconds beside those of the
encoder's forward and the matrix products alone, which are the bound.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from core.benchmark.catalogue import Pool
from core.benchmark.testing import ask_all
from core.config.presets import preset_config, with_overrides
from core.data.loading import load_task_data
from core.data.types import Sample
from core.encoders.base import new_encoder
from core.hardware import describe
from core.recommenders.base import Task
from core.recommenders.registry import method_class
from core.runs.demo import DEMO
from core.runs.store import open_run


def passed_on(pool: Pool, cases: Sequence[Sample], count: int) -> list[list[int]]:
    """Each case's items: the encoder's best, or everything where the count is 0."""
    if not count:
        return [list(range(pool.items))] * len(cases)
    pool.retrieve = count
    return [items.tolist() for items in pool.retrieved(cases)]


def language_model(options: argparse.Namespace) -> None:
    """Times the demo adapter."""
    run = open_run(DEMO)
    recommender: Any = run.recommender
    config = with_overrides(run.info.config, data={"candidates": "catalogue", "retrieve": 20})
    with TemporaryDirectory() as folder:
        pool = Pool(recommender, Task(run.dataset, run.samples, config, 0, Path(folder)))
    cases = run.samples.test["spread"][:: max(1, len(run.samples.test["spread"]) // options.users)]
    cases = cases[: options.users]
    histories = [case.history for case in cases]
    prompt = recommender.model.ranker.prompt
    offered = {count: passed_on(pool, cases, count) for count in options.passed}
    recommender.score(histories, offered[options.passed[0]])  # warm
    found: dict[int, list[float]] = {count: [] for count in options.passed}
    busy: dict[int, list[float]] = {count: [] for count in options.passed}
    for number in range(options.rounds):
        for place in range(len(options.passed)):
            count = options.passed[(place + number) % len(options.passed)]
            started, worked = time.perf_counter(), time.process_time()
            recommender.score(histories, offered[count])
            found[count].append((time.perf_counter() - started) / len(cases))
            busy[count].append((time.process_time() - worked) / len(cases))
    before: tuple[int, float] | None = None
    print(f"{len(cases)} users, {options.rounds} rounds, batches of {recommender.batch}")
    print(f"{'items':>6} {'ms/user':>9} {'range':>17} {'CPU ms':>7} {'tokens':>8} {'expected ms':>12}")
    for count in options.passed:
        items, spent = count or pool.items, 1000 * np.array(found[count])
        tokens = np.mean([prompt.length(*each) for each in zip(histories, offered[count], strict=True)])
        middle = float(np.median(spent))
        expected = "" if before is None else f"{before[1] * items / before[0]:12.0f}"
        print(
            f"{items:6} {middle:9.0f} {f'{spent.min():.0f} to {spent.max():.0f}':>17} "
            f"{1000 * np.median(busy[count]):7.0f} {tokens:8.0f} {expected}"
        )
        before = (items, middle)


def encoders(options: argparse.Namespace) -> None:
    """Times SASRec and popularity."""
    config = with_overrides(
        preset_config("quick"),
        data={"dataset": options.encoders, "split": "leave-one-out", "candidates": "catalogue"},
    )
    started = time.perf_counter()
    dataset, samples = load_task_data(config.data)
    loaded = time.perf_counter() - started
    items, cases = len(dataset.catalogue), list(samples.asked.values())
    print(f"{dataset.name}: {len(cases):,} users x {items:,} items; read and divided in {loaded:.1f} s")
    torch.manual_seed(0)
    encoder = new_encoder("sasrec", items, config.encoder, dataset.rules.max_history).freeze()
    started = time.perf_counter()
    for start in range(0, len(cases), 256):
        encoder.logits(encoder.represent([case.history for case in cases[start : start + 256]]))
    bound = time.perf_counter() - started
    with TemporaryDirectory() as folder:
        task = Task(dataset, samples, config, 0, Path(folder))
        for name in ("sasrec", "popularity"):
            recommender: Any = method_class(name)()
            if name == "sasrec":
                recommender.model = encoder
            else:
                recommender.fit(task)
            worked = time.process_time()
            spent = ask_all(recommender, task).seconds
            worked = time.process_time() - worked
            beside = f"; forward and products alone {bound:.1f} s" if name == "sasrec" else ""
            print(f"{name}: {spent:.1f} s, {worked:.1f} s of the processor's time{beside}")


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--users", type=int, default=8, help="users in a round")
    options.add_argument("--rounds", type=int, default=3, help="measured rounds")
    options.add_argument("--passed", type=int, nargs="+", default=[20, 100, 500, 0], help="N; 0: all")
    options.add_argument("--encoders", metavar="DATASET", help="time encoders on this dataset instead")
    options.add_argument("--threads", type=int, default=None, help="CPU threads; PyTorch's own if left out")
    given = options.parse_args()
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    print(f"{describe()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    (encoders if given.encoders else language_model)(given)


if __name__ == "__main__":
    main()
