"""What a result says about time: how much of its training came after its earliest test case."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from core.benchmark.run import Plan, run_benchmark
from core.benchmark.statements import lateness
from core.results.format import Result
from core.results.store import load_results
from core.results.tables import group_tables
from ilora_app.render import columns
from tests import tiny

pytestmark = pytest.mark.usefixtures("tiny_home")


@pytest.mark.parametrize("split", ["paper", "leave-one-out"])
def test_training_that_is_later_than_the_earliest_test_case_is_counted(split: str) -> None:
    settings = tiny.config()
    data = dataclasses.replace(settings.data, split=split)
    dataset, samples = tiny.load(dataclasses.replace(settings, data=data))
    earliest = min(dataset.sequences[user].timestamps[position] for user, position in samples.asked)
    last: dict[str, int] = {}
    for case in samples.train:
        last[case.user] = max(last.get(case.user, 0), case.position)
    times = [time for user, end in last.items() for time in dataset.sequences[user].timestamps[: end + 1]]
    found = lateness(dataset, samples)
    assert found is not None
    assert (found.interactions, found.later) == (len(times), sum(time > earliest for time in times))
    assert 0 < found.later < found.interactions


def test_data_without_times_says_nothing() -> None:
    dataset, samples = tiny.load(tiny.config())
    timeless = {
        user: dataclasses.replace(sequence, timestamps=np.zeros_like(sequence.timestamps))
        for user, sequence in dataset.sequences.items()
    }
    assert lateness(dataclasses.replace(dataset, sequences=timeless), samples) is None


def test_it_stands_in_the_result_and_under_the_table(tmp_path: Path) -> None:
    plan = Plan(tiny.config(), ("popularity",), (0,), tmp_path, "quick", "ilora-app bench")
    (made,) = run_benchmark(plan)
    ((read,), _) = load_results(tmp_path)
    assert read.lateness == made.lateness is not None
    (table,) = group_tables([read])
    line = columns.lateness(table)
    assert line is not None and f"{made.lateness.later:,} of {made.lateness.interactions:,}" in line
    assert Result.from_json(dataclasses.replace(made, lateness=None).to_json()).lateness is None
