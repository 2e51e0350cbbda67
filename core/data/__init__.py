"""From a dataset's card to ranking samples: the few names that the rest of the engine needs."""

from __future__ import annotations

from core import assets
from core.data.cards import DatasetCard, list_cards, load_card
from core.data.samples import draw_candidates, make_samples
from core.data.types import Catalogue, Dataset, Sample, Samples, UserSequence
from core.events import Emit

__all__ = [
    "Catalogue",
    "Dataset",
    "DatasetCard",
    "Sample",
    "Samples",
    "UserSequence",
    "draw_candidates",
    "list_cards",
    "load_card",
    "load_dataset",
    "make_samples",
]


def load_dataset(name: str | DatasetCard, emit: Emit) -> Dataset:
    """A dataset by the name or path of its card, fetched on first use.

    Raises:
        InputError: there is no such dataset.
        AssetError: it is not cached and cannot be fetched.
        DataError: the card or the data breaks its contract.
    """
    from core.data.interactions import read_dataset

    card = name if isinstance(name, DatasetCard) else load_card(name)
    stored = assets.obtain(card.asset, emit, thorough=True)
    source = next(source for source in card.sources if source.name == stored.source)
    return read_dataset(card, source, stored.files)
