"""An old encoder learns from what is before a moment alone, adapters from all that trains."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from core.benchmark.run import Plan, run_benchmark
from core.config.settings import RunConfig
from core.data.samples import last_positions
from core.errors import InputError
from core.recommenders.encoder_data import known_to_encoders
from core.recommenders.encoders import fit_encoder
from core.recommenders.popularity import training_sequences
from tests import tiny
from tests.recommenders.test_withheld import settings as wide_settings
from tests.recommenders.test_withheld import wide_home as wide_home

pytestmark = pytest.mark.usefixtures("wide_home")


def settings(until: str, model: Path | str = "tiny-llama", kind: str = "sasrec") -> RunConfig:
    config = wide_settings(kind, model, split="temporal")
    return dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, until=until))


def test_it_is_trained_on_what_is_before_the_moment_and_the_adapter_on_all(tmp_path: Path) -> None:
    task, everything = (tiny.task(settings(until), tmp_path) for until in ("0.4", ""))
    times = np.sort(np.concatenate([one.timestamps for one in task.dataset.sequences.values()]))
    moment = times[int(0.4 * len(times))]
    known, unmet = known_to_encoders(task)
    expected = []
    for user, end in last_positions(task.samples.train).items():
        one = task.dataset.sequences[user]
        before = one.items[: end + 1][one.timestamps[: end + 1] < moment]
        expected += [before.tolist()] if len(before) else []
    assert [items.tolist() for items in known] == expected
    assert 0 < len(known) < len(training_sequences(task.dataset, task.samples))
    assert unmet == set(range(len(task.dataset.catalogue))) - {item for row in expected for item in row}
    assert unmet > task.samples.withheld
    assert known_to_encoders(everything)[1] == everything.samples.withheld
    assert task.samples.train[:] == everything.samples.train[:], "adapters see what they always do"


@pytest.mark.parametrize("kind", ["sasrec", "gru4rec"])
def test_what_it_has_not_met_has_the_mean_vector_and_it_is_kept_apart(kind: str, tmp_path: Path) -> None:
    task = tiny.task(settings("0.4", kind=kind), tmp_path)
    _, unmet = known_to_encoders(task)
    met = sorted(set(range(len(task.dataset.catalogue))) - unmet)
    model, _ = fit_encoder(task)
    vectors = model.items.weight[1:]
    torch.testing.assert_close(vectors[sorted(unmet)], vectors[met].mean(0).expand(len(unmet), -1))
    fit_encoder(tiny.task(settings("", kind=kind), tmp_path))
    assert len(list((tmp_path / "encoders").iterdir())) == 2


def test_a_result_says_so_and_is_another_one(tiny_model: Path, tmp_path: Path) -> None:
    methods = ("popularity", "sasrec", "ilora")
    old, new = (
        run_benchmark(Plan(settings(until, tiny_model), methods, (0,), tmp_path)) for until in ("0.4", "")
    )
    for before, now in zip(old, new, strict=True):
        assert before.samples_sha256 == now.samples_sha256
        learns = before.method != "popularity"
        assert (before.key != now.key) == learns
        assert any("encoders were trained on what is before 0.4" in note for note in before.notes) == learns
        assert not any("encoders were trained" in note for note in now.notes)


@pytest.mark.parametrize(
    ("until", "says"),
    [
        ("0.95", "when training is over already"),
        ("1.5", "--encoder-until 1.5 is no share between 0 and 1"),
        ("soon", "--encoder-until 'soon' is neither a share nor a date"),
        ("1950-01-01", "there must be interactions before and after it"),
    ],
)
def test_a_moment_outside_of_training_is_one_line(until: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        fit_encoder(tiny.task(settings(until), tmp_path))


def test_without_a_split_by_time_it_is_refused() -> None:
    with pytest.raises(InputError, match=r"--encoder-until 0\.5 belongs to a split by time"):
        config = wide_settings()
        dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, until="0.5"))
