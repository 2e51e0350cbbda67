"""The real MovieLens-100K, fetched through the product, is what the paper used."""

from __future__ import annotations

import pytest

from core.data.card_files import load_card
from core.data.samples import make_samples
from core.data.types import Dataset, Samples

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def samples(movielens: Dataset) -> Samples:
    return make_samples(movielens, load_card("movielens"))


def test_counts(movielens: Dataset) -> None:
    assert (len(movielens.sequences), len(movielens.catalogue)) == (943, 1682)
    assert sum(len(mine.seen) for mine in movielens.sequences.values()) == 100_000
    assert sum(len(mine.items) for mine in movielens.sequences.values()) == 82_520
    assert list(movielens.sequences)[:3] == ["1", "2", "3"]


def test_sequences_are_in_time(movielens: Dataset) -> None:
    for mine in movielens.sequences.values():
        assert (mine.timestamps[1:] >= mine.timestamps[:-1]).all()


def test_titles(movielens: Dataset) -> None:
    catalogue = movielens.catalogue
    titles = dict(zip(catalogue.ids, catalogue.titles, strict=True))
    assert len({title.casefold() for title in catalogue.titles}) == 1682
    assert {"An American in Paris", "The Usual Suspects", "Das Boot", "Les Misérables"} <= set(
        catalogue.titles
    )
    assert titles["267"] == "Unknown film (267)"
    assert {"Sabrina (1954)", "Sabrina (1995)", "Chasing Amy (1997) [246]", "L'Enfer"} <= set(
        catalogue.titles
    )
    assert not [
        title for title in catalogue.titles if title.endswith((", The", ", A", ", An", ", La", ", Le"))
    ]
    assert catalogue.tags[0] == ("Animation", "Children's", "Comedy")


def test_the_papers_split(samples: Samples) -> None:
    card = load_card("movielens")
    assert card.split is not None
    assert {case.user for case in samples.test["last"]} == set(card.split.test_users)
    assert {case.user for case in samples.validation} == set(card.split.validation_users)
    assert (len(samples.test["last"]), len(samples.test["spread"])) == (95, 949)
    assert (len(samples.train), len(samples.validation)) == (66_127, 282)


def test_the_samples_are_these_and_no_others(movielens: Dataset, samples: Samples) -> None:
    assert samples.sha256 == "936d532ed1a3de1999482fcd01c0bc7ad15dfff92bc31089af8ff77a0004e2fd"
    other = make_samples(movielens, load_card("movielens"), "leave-one-out")
    assert other.sha256 == "8e23c582c555e341866e91606bca514d53053786e38abba572ea9b20763990ce"
    assert len(other.test["last"]) == len(other.validation) == 943
