"""What was listed of a dataset is there at once the next time, and never for other data."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from core.config.settings import DataConfig
from core.data.loading import load_task_data
from core.events import Event
from core.serving import listing
from core.serving.listing import keep, kept, listing_of
from core.serving.protocol import ItemsListed, UsersListed
from tests import tiny

CONFIG = DataConfig(dataset="tiny")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in tiny.install(tmp_path / "home", tmp_path / "mirror").items():
        monkeypatch.setenv(name, value)
    return tmp_path / "home"


def test_what_was_listed_comes_back_the_same_and_in_pieces(home: Path) -> None:
    assert kept(CONFIG) is None
    dataset, samples = load_task_data(CONFIG)
    listed = listing_of(dataset, samples)
    keep(listed, CONFIG)
    assert kept(CONFIG) == listed
    events: list[Event] = list(listed.events(7))
    titles = [title for event in events if isinstance(event, ItemsListed) for title in event.titles]
    users = [user for event in events if isinstance(event, UsersListed) for user in event.users]
    assert titles == list(dataset.catalogue.titles)
    assert [user["user"] for user in users] == list(dataset.sequences)
    assert {user["part"] for user in users} == {"train", "validation", "test"}


def test_other_settings_and_changed_files_are_not_answered_with_it(home: Path) -> None:
    dataset, samples = load_task_data(CONFIG)
    keep(listing_of(dataset, samples), CONFIG)
    assert kept(replace(CONFIG, split="leave-one-out")) is None
    data = next(path for path in home.rglob("*") if path.suffix in (".data", ".inter", ".csv", ".tsv"))
    os.utime(data, ns=(1, 1))
    assert kept(CONFIG) is None


def test_a_damaged_file_is_passed_over_and_a_large_dataset_not_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, samples = load_task_data(CONFIG)
    listed = listing_of(dataset, samples)
    keep(listed, CONFIG)
    (file,) = (home / "listings").glob("*.json")
    file.write_text('{"dataset": 3}', encoding="utf-8")
    assert kept(CONFIG) is None
    file.unlink()
    monkeypatch.setattr(listing, "LARGEST", 3)
    keep(listed, CONFIG)
    assert kept(CONFIG) is None
