"""A dataset and its cases, from the name of its card to what methods are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.assets import fetching
from core.config.settings import DataConfig
from core.data.card_files import load_card
from core.data.cards import DatasetCard
from core.data.joined import join_datasets, join_samples
from core.data.joined_cards import JoinedCard
from core.data.samples import make_samples
from core.data.types import Dataset, Samples
from core.errors import InputError
from core.events import Emit, silent


def load_dataset(name: str | DatasetCard, emit: Emit) -> Dataset:
    """A dataset by the name or path of its card, fetched on first use.

    Raises:
        InputError: there is no such dataset.
        AssetError: it is not cached and cannot be fetched.
        DataError: the card or the data breaks its contract.
    """
    from core.data.reading.interactions import read_dataset

    card = name if isinstance(name, DatasetCard) else load_card(name)
    if isinstance(card, JoinedCard):
        return join_datasets(card, [load_dataset(part, emit) for part in card.parts])
    stored = fetching.obtain(card.asset, emit, thorough=True)
    source = next(source for source in card.sources if source.name == stored.source)
    return read_dataset(card, source, stored.files)


def load_task_data(config: DataConfig, emit: Emit = silent) -> tuple[Dataset, Samples]:
    """A dataset and its cases under a run's data settings."""
    card = load_card(config.dataset)
    if isinstance(card, JoinedCard):
        parts = [load_task_data(replace(config, dataset=part.name), emit) for part in card.parts]
        joined = join_datasets(card, [dataset for dataset, _ in parts])
        return joined, join_samples(joined, [samples for _, samples in parts])
    dataset = load_dataset(card, emit)
    samples = make_samples(
        dataset,
        card,
        split=config.split,
        seed=config.samples_seed,
        spread_positions=config.spread_positions,
        validation_positions=config.validation_positions,
        test_users=config.test_users,
        whole=config.whole,
        test_from=config.test_from,
        cold_items=config.cold_items,
        min_history=config.min_history,
        users=config.users,
    )
    return dataset, samples


def check_max_history(settings: Mapping[str, Mapping[str, Any]], config: DataConfig) -> None:
    """Raises `InputError` where a run file, as older ones may, wants other histories than the dataset has."""
    asked = settings.get("encoder", {}).get("max_history")
    rule = load_card(config.dataset).rules.max_history
    if asked not in (None, rule):
        raise InputError(
            f"encoder.max_history is {asked}, but histories of {config.dataset} have at most {rule} items",
            "leave it out: max_history in the dataset's card holds for every method",
        )
