"""The real LastFM and Steam, fetched through the product, are what their cards say."""

from __future__ import annotations

import pytest

from core.assets import fetching
from core.data.card_files import load_card
from core.data.loading import load_dataset
from core.data.own.guessing import guess
from core.data.samples import make_samples
from core.data.types import Dataset, Samples
from core.events import silent

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def lastfm(home: object) -> tuple[Dataset, Samples]:
    dataset = load_dataset("lastfm", silent)
    return dataset, make_samples(dataset, load_card("lastfm"))


@pytest.fixture(scope="module")
def steam(home: object) -> tuple[Dataset, Samples]:
    dataset = load_dataset("steam", silent)
    return dataset, make_samples(dataset, load_card("steam"))


def test_lastfm_keeps_the_published_windows(lastfm: tuple[Dataset, Samples]) -> None:
    dataset, samples = lastfm
    assert (len(dataset.sequences), len(dataset.catalogue)) == (976 + 122 + 122, 4606)
    assert len(samples.train) == 50_800 - 3 * 976  # a window needs three artists before its target
    assert len(samples.validation) == 122 and list(samples.test) == ["last"]
    first = samples.test["last"][0]
    ids = [dataset.catalogue.ids[item] for item in (*first.history, first.target)]
    assert ids == ["392", "225", "234", "576", "577", "272", "578"]
    assert dataset.catalogue.titles[:2] == ("Morcheeba", "Enigma")


def test_no_candidate_is_known_to_its_listener(lastfm: tuple[Dataset, Samples]) -> None:
    dataset, samples = lastfm
    for case in (*samples.validation, *samples.test["last"]):
        known = dataset.sequences[case.user].seen
        assert set(case.history) | {case.target} == known
        assert set(case.candidates) & known == {case.target} and len(case.candidates) == 20


def test_steam_is_divided_by_users(steam: tuple[Dataset, Samples]) -> None:
    dataset, samples = steam
    assert (len(dataset.sequences), len(dataset.catalogue)) == (10_369, 3_593)
    assert sum(len(mine.items) for mine in dataset.sequences.values()) == 124_189
    for mine in dataset.sequences.values():
        assert len(set(mine.items.tolist())) == len(mine.items)  # a game owned twice counts once
        assert (mine.timestamps[1:] >= mine.timestamps[:-1]).all()
    groups = [
        {case.user for case in cases} for cases in (samples.train, samples.validation, samples.test["last"])
    ]
    assert not groups[0] & groups[1] and not groups[1] & groups[2] and not groups[0] & groups[2]
    assert all(abs(len(group) - 1036) <= 20 for group in groups[1:])
    assert "Heroes of Might & Magic V" in dataset.catalogue.titles


def test_the_samples_are_these_and_no_others(
    lastfm: tuple[Dataset, Samples], steam: tuple[Dataset, Samples]
) -> None:
    assert lastfm[1].sha256 == "da18c923d8d79512c77601d332e6e5a87af1c8d965d05007e4a17010182cc83a"
    assert steam[1].sha256 == "99f4b0b4238f62bfc8eea1bc9ab65c74dc72384e4740859be1a81173524eabf8"


def test_both_cards_carry_the_published_figures() -> None:
    for name, ours, theirs in (("lastfm", 0.5, 0.5246), ("steam", 0.5264, 0.5051)):
        figures = {row.method: row.hit_ratio_at_1 for row in load_card(name).reported}
        assert figures["iLoRA"] == ours and len(figures) == 10
        assert figures["LLaRA (SASRec), after bug fixes"] == theirs
    assert [load_card(name).noun for name in ("lastfm", "steam")] == ["artist", "game"]


def test_a_llara_folder_is_lastfm(home: object) -> None:
    stored = fetching.obtain(load_card("lastfm").asset, silent)
    found = guess(stored.files["train_data.df"].parent, None, {})
    assert found.kind == "LLaRA" and found.windows == load_card("lastfm").sources[0].windows
