"""What tests share: one product home, filled through the product's own fetcher."""

from __future__ import annotations

import os
import signal

if "PYTEST_XDIST_WORKER" in os.environ:  # two processes of one thread each do more than one process of two
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.assets import spec
from core.data.loading import load_dataset
from core.data.types import Dataset
from core.events import silent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job: children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The product's home for tests that fetch: the one of the environment, or one for the whole session."""
    chosen = os.environ.get(spec.HOME_VARIABLE)
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # one home for all workers, as for all processes of a user
    path = Path(chosen) if chosen else shared / "home"
    path.mkdir(exist_ok=True)
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
