"""What tests share: one product home, filled through the product's own fetcher."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.assets import spec
from core.data.loading import load_dataset
from core.data.types import Dataset
from core.events import silent


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The product's home for tests that fetch: the one of the environment, or one for the whole session."""
    chosen = os.environ.get(spec.HOME_VARIABLE)
    path = Path(chosen) if chosen else tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(spec.HOME_VARIABLE, str(path))
        yield path


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty product home for one test, with no mirror."""
    path = tmp_path / "home"
    monkeypatch.setenv(spec.HOME_VARIABLE, str(path))
    monkeypatch.delenv(spec.MIRROR_VARIABLE, raising=False)
    return path


@pytest.fixture(scope="session")
def movielens(home: Path) -> Dataset:
    """The real MovieLens-100K; ask for it only in tests marked `network`."""
    return load_dataset("movielens", silent)


@pytest.fixture
def tiny_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty product home that knows the made-up dataset `tiny`, its files in a mirror."""
    from tests import tiny

    home = tmp_path / "home"
    for name, value in tiny.install(home, tmp_path / "mirror").items():
        monkeypatch.setenv(name, value)
    return home


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random language model; nobody writes into it."""
    from tests import tiny

    return tiny.save_model(tmp_path_factory.mktemp("tiny-llama"))
