"""The card of several datasets that are used as one, named by their names with a plus between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.config.checks import DATASET_NAMES, JOINT, check
from core.config.choices import SPLITS
from core.data.cards import DatasetCard, Licence, Prompts

PROMPTS = Prompts(
    history="This user chose:",
    item="{title}",
    ask="Will they choose next:",
    language_model="This user has chosen {history} in the previous. Please predict what this user will "
    "choose next. Choose the answer from the following {count} titles: {candidates}. Answer:",
)
"""How a case of any of them is put into words: nothing in it tells them apart."""


@dataclass(frozen=True)
class JoinedCard(DatasetCard):
    """What is known of several datasets as one; each keeps its own rules, split and candidates."""

    parts: tuple[DatasetCard, ...] = ()
    """Their cards, in the order of their items and users."""

    def __post_init__(self) -> None:
        names = [card.name for card in self.parts]
        check(len(names) > 1, f"{self.name} joins a single dataset", "such as movielens+lastfm")
        check(len({*names}) == len(names), f"{self.name} names a dataset twice", "name each of them once")
        check(bool(self.splits), f"no split divides all of {self.name}", "join datasets that share a split")

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that all of them can be divided by."""
        return tuple(split for split in SPLITS if all(split in card.splits for card in self.parts))


def is_joined(name: str) -> bool:
    """Whether this is the name of several datasets as one."""
    return JOINT in name and bool(re.fullmatch(DATASET_NAMES, name))


def joined_card(cards: Sequence[DatasetCard]) -> JoinedCard:
    """One card for several datasets.

    Raises:
        InputError: one is named twice, or no split divides them all.
    """
    first = cards[0]
    licences = [card.licence for card in cards]
    nouns = {card.noun for card in cards}
    return JoinedCard(
        name=JOINT.join(card.name for card in cards),
        title=" + ".join(card.title for card in cards),
        description=" ".join(card.description for card in cards),
        homepage=first.homepage,
        citation="\n".join(card.citation for card in cards),
        noun=nouns.pop() if len(nouns) == 1 else "item",
        licence=Licence(
            name="; ".join(dict.fromkeys(one.name for one in licences)),
            url=" ".join(dict.fromkeys(one.url for one in licences)),
            redistribution=" ".join(dict.fromkeys(one.redistribution for one in licences)),
        ),
        sources=first.sources,
        rules=replace(first.rules, max_history=max(card.rules.max_history for card in cards)),
        expected=first.expected,
        prompts=PROMPTS,
        parts=tuple(cards),
    )
