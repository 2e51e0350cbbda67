"""A run on several datasets as one is opened, asked and analyzed like any other, within a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.analysis.analyze import Settings, analyze
from core.analysis.record import record
from core.benchmark.run import Plan, run_benchmark
from core.config.presets import with_overrides
from core.runs.store import list_runs
from core.serving.opening import open_session
from core.serving.protocol import CATALOGUE, Question
from ilora_app.render.analysis import text_tables_of
from tests import tiny

TRAINED = tiny.USERS - 4 - 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("joined")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("tiny", "other"):
            for variable, value in tiny.install(folder / "home", folder / "mirror", name=name).items():
                patch.setenv(variable, value)
        config = tiny.config(tiny_model, samples=8, encoder_prior=False)
        config = with_overrides(config, data={"dataset": "tiny+other"})
        (result,) = run_benchmark(Plan(config, ("ilora",), (0,), folder / "runs"))
        assert {case.set for case in result.cases} == {"spread", "tiny", "other"}
        yield list_runs(folder / "runs")[0][0].path


def test_each_dataset_is_a_cluster(run: Path) -> None:
    found = analyze(run, settings=Settings(windows=4))
    assert found.names == ("tiny", "other") and found.clusters.sizes == [TRAINED, TRAINED]
    (transfer,) = found.transfers
    assert transfer.windows == (4, 4) and np.isfinite(transfer.similarity).all()
    assert "one for each dataset: tiny, other" in text_tables_of(record(found))[0].note


def test_an_opened_run_ranks_and_retrieves_within_the_users_dataset(run: Path) -> None:
    session = open_session(run)
    for user, items in (("tiny:3", range(tiny.ITEMS)), ("other:3", range(tiny.ITEMS, 2 * tiny.ITEMS))):
        sequence = session.dataset.sequences[user]
        position = len(sequence.items) - 1
        history = sequence.items[max(0, position - 10) : position].tolist()
        asked = Question(history=history, user=user, position=position)
        benchmark = session.rank(0, asked)
        case = next(case for case in session.samples.test["spread"] if case.place == (user, position))
        assert set(benchmark.items) == set(case.candidates) <= set(items)
        retrieved = session.rank(0, Question(history=history, user=user, source=CATALOGUE, retrieve=12))
        assert set(retrieved.items) <= set(items)
