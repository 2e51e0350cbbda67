"""What reports need to know beside results: of cases and items, and of what gates did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.benchmark.testing import CHUNK
from core.config.settings import DataConfig
from core.data.loading import load_task_data
from core.data.samples import last_positions
from core.data.types import Dataset, Samples
from core.errors import ResultError
from core.recommenders.base import Recommender
from core.recommenders.popularity import item_counts
from core.results.case_facts import facts_of, holds_facts, save_experts, save_facts
from core.results.item_facts import item_facts_of, load_item_facts, save_item_facts


def keep_facts(dataset: Dataset, samples: Samples, data: DataConfig, out: Path) -> None:
    """Writes what the folder lacks or holds damaged: facts of cases and, for a catalogue, of its items."""
    key = (samples.dataset, samples.split, samples.sha256)
    lacking = not holds_facts(out, samples)
    lacking_items = data.whole and not _holds(lambda: load_item_facts(out, *key))
    if not (lacking or lacking_items):
        return
    everybody = samples
    if samples.untrained:  # the facts are those of the cases, whoever trains
        _, everybody = load_task_data(replace(data, users=0))
    counts = item_counts(dataset, everybody)
    if lacking:
        save_facts(facts_of(dataset, samples, counts, last_positions(everybody.train)), samples, out)
    if lacking_items:
        save_item_facts(item_facts_of(dataset, samples, counts), samples, out)


def keep_experts(recommender: Recommender, samples: Samples, out: Path, result_file: Path) -> None:
    """Keeps the gate's weights on the test cases beside the result; methods without a gate have none."""
    cases = samples.asked
    histories = [case.history for case in cases.values()]
    parts = [
        weights
        for start in range(0, len(histories), CHUNK)
        if (weights := recommender.expert_weights(histories[start : start + CHUNK])) is not None
    ]
    if parts:
        save_experts(list(cases), np.concatenate(parts), out, result_file)


def _holds(load: Callable[[], object]) -> bool:
    try:
        return load() is not None
    except ResultError:
        return False
