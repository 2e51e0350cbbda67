"""Whom a case is ranked against when the whole catalogue is asked for, and what a reranking method is given.

A method that scores vectors ranks every item that the user has not had before the case. A language model
reranks the best of its own encoder; a target that is not among them is a miss, whatever the model would say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from core.config.checks import check
from core.config.saved import without_news
from core.config.settings import RunConfig
from core.data.types import COLD, Dataset, Sample
from core.methods import METHODS, settle
from core.recommenders.base import Recommender, Task
from core.recommenders.encoders import fit_encoder
from core.results.rankings import first_places

Items = npt.NDArray[np.int64]

LARGEST_LISTED = 200
"""Candidates that a prompt can list; methods whose prompt lists them rerank no more."""
SCORED = 1 << 20
"""Scores that are computed at once where an encoder or popularity scores the whole catalogue."""
LARGEST_READ = 10_000
"""Items of the largest catalogue that a language model scores as a whole."""


def reranks(method: str) -> bool:
    """Whether a method asks a language model about each candidate, and so gets the best of an encoder."""
    record = METHODS[method]
    return (record.needs_llm or record.is_remote) and not record.is_encoder


def pool_settings(config: RunConfig, method: str) -> dict[str, Any]:
    """The part `pool` of the settings that decide a method's result; empty for sampled candidates."""
    if not config.data.whole:
        return {}
    pool: dict[str, Any] = {"candidates": config.data.candidates}
    if reranks(method):
        pool["retrieve"] = config.data.retrieve
        if "encoder" not in METHODS[method].reads and config.data.retrieve:
            pool["encoder"] = without_news("encoder", config.to_dict()["encoder"])
    return {"pool": pool}


def check_pool(config: RunConfig, methods: Sequence[str], dataset: Dataset) -> None:
    """Raises `InputError` where the methods cannot rank this catalogue or learn as the settings say."""
    check(
        config.training.negatives == "random" or not dataset.parts,
        "several datasets as one have no encoder's best items to draw hard negatives from",
        "leave --negatives out, or name one dataset",
    )
    if not config.data.whole:
        return
    wanted, size = config.data.retrieve, len(dataset.catalogue)
    check(
        wanted <= size,
        f"--retrieve {wanted} is more than the {size} items of {dataset.name}",
        f"give at most {size}, or all",
    )
    for method in filter(reranks, methods):
        record = METHODS[method]
        asks = settle(config, method).training.asks
        lists = not record.has_adapter or asks == "language-model"
        check(
            not lists or 0 < wanted <= LARGEST_LISTED,
            f"{method} lists its candidates in the prompt, which holds at most {LARGEST_LISTED}",
            f"give --retrieve {LARGEST_LISTED} or less",
        )
        check(
            wanted > 0 or size <= LARGEST_READ or (record.has_adapter and asks == "item-tokens"),
            f"--retrieve all would have {method} score {size} items for every case",
            f"give --retrieve N for catalogues of more than {LARGEST_READ} items",
        )


class Pool:
    """The items that each case of a task is ranked against.

    Args:
        recommender: the trained method.
        task: what it was given.
    """

    def __init__(self, recommender: Recommender, task: Task) -> None:
        self.sequences = task.dataset.sequences
        self.items = len(task.dataset.catalogue)
        self.cold = np.isin(np.arange(self.items), list(task.samples.cold))
        self.retrieve = task.config.data.retrieve if reranks(recommender.name) else 0
        """How many the encoder passes on; 0: every item is scored by the method itself."""
        self.encoder = None
        if self.retrieve:
            self.encoder = recommender.own_encoder() or fit_encoder(task)[0]
        reads_all = reranks(recommender.name) and not self.retrieve
        self.block = 1 if reads_all else max(1, SCORED // self.items)
        """Cases whose whole catalogue is scored at once; a language model gets them one by one."""

    def of(self, sample: Sample) -> Items:
        """The items that the user has not had before the case, ascending; the target is always one.

        Of a case that is ranked among cold items alone, only these.
        """
        had = self.sequences[sample.user].items[: sample.position]
        left = np.ones(self.items, dtype=np.bool_)
        left[had] = False
        left[sample.target] = True
        if sample.pool == COLD:
            left &= self.cold
        return np.flatnonzero(left)

    @torch.no_grad()
    def retrieved(self, samples: Sequence[Sample]) -> list[Items]:
        """The encoder's best items for each case, the target last among equals, in an order of no meaning."""
        assert self.encoder is not None
        z = self.encoder.represent([sample.history for sample in samples])
        scores = self.encoder.logits(z).float().cpu().numpy()
        found = []
        for sample, row in zip(samples, scores, strict=True):
            pool = self.of(sample)
            best = pool[first_places(row[pool], pool == sample.target, self.retrieve)]
            found.append(np.array(sorted(best.tolist(), key=lambda item: _lot(sample, item))))
        return found


def _lot(sample: Sample, item: int) -> bytes:
    """Where an item stands in a prompt: the encoder's order would tell its opinion."""
    return hashlib.sha256(f"{sample.user}\0{sample.position}\0{item}".encode()).digest()
