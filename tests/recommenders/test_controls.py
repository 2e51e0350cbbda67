"""Controls ask the trained method in another way; where that changes nothing, they answer as it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.benchmark.testing import rank_cases
from core.data.types import Sample, Samples
from core.errors import InputError
from core.methods import METHODS, control_methods
from core.recommenders.adapter import AdapterRecommender
from core.recommenders.base import Task
from core.recommenders.controls import Control, cluster_gate, mean_gate, shuffled, swapped_gate
from core.recommenders.registry import method_class
from tests import tiny

OMEGA = np.random.default_rng(0).dirichlet(np.ones(4), size=(12, 2)).astype(np.float32)  # (12, 2 sites, 4)
USERS = [str(row // 3) for row in range(12)]


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> Iterator[tuple[Task, AdapterRecommender]]:
    """An iLoRA whose every part has weight: a gate that decides, item slots and a head that speak."""
    folder = tmp_path_factory.mktemp("controls")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in tiny.install(folder / "home", folder / "mirror").items():
            patch.setenv(name, value)
        task = tiny.task(tiny.config(tiny_model, samples=8), folder)
        ilora = method_class("ilora")()
        assert isinstance(ilora, AdapterRecommender)
        ilora.fit(task)
        tiny.randomize(ilora.model.peft, std=0.5)
        tiny.randomize(ilora.model.ranker, seed=1)
        assert ilora.model.gate is not None
        tiny.randomize(ilora.model.gate, seed=2, std=2.0)
        yield task, ilora


def of_cases(samples: Samples, cases: list[Sample]) -> Samples:
    """The samples with these test cases alone."""
    return replace(samples, test={"spread": tuple(cases)})


def control(name: str, task: Task, trained: AdapterRecommender, cases: list[Sample] | None = None) -> Control:
    """A control, ready to be asked about the test cases of the task or these ones."""
    samples = task.samples if cases is None else of_cases(task.samples, cases)
    made = method_class(name)()
    assert isinstance(made, Control)
    made.fit(replace(task, samples=samples, trained=trained))
    return made


def scores(of: Control | AdapterRecommender, cases: list[Sample]) -> np.ndarray:
    return of.score([case.history for case in cases], [case.candidates for case in cases])


def test_each_control_names_the_method_that_it_asks_and_has_its_settings() -> None:
    assert control_methods() == ("shuffled", "history-blind", "mean-gate", "swapped-gate", "cluster-gate")
    for name in control_methods():
        record = METHODS[name]
        base = METHODS[record.control_of]
        assert (record.reads, dict(record.own_training)) == (base.reads, dict(base.own_training))
        assert not (record.trains or record.keeps_model or record.by_default)


@pytest.mark.parametrize("name", control_methods())
def test_a_control_answers_otherwise_and_leaves_the_trained_method_as_it_was(
    name: str, trained: tuple[Task, AdapterRecommender]
) -> None:
    task, ilora = trained
    cases = list(task.samples.asked.values())
    before = scores(ilora, cases)
    own = ilora.expert_weights([case.history for case in cases])
    changed = control(name, task, ilora)
    found = scores(changed, cases)
    omega = changed.expert_weights([case.history for case in cases])
    assert np.isfinite(found).all()
    assert np.abs(found - before).max() > 1e-3
    assert omega is not None and own is not None and np.allclose(omega.sum(axis=1), 1, atol=1e-5)
    assert np.abs(omega - own).max() > 1e-3
    np.testing.assert_array_equal(scores(ilora, cases), before)
    assert len(rank_cases(changed, task)[0]) == sum(map(len, task.samples.test.values()))


def test_the_mean_gate_of_one_user_is_that_users_gate(trained: tuple[Task, AdapterRecommender]) -> None:
    task, ilora = trained
    case = next(iter(task.samples.asked.values()))
    found = scores(control("mean-gate", task, ilora, [case]), [case])
    np.testing.assert_allclose(found, scores(ilora, [case]), atol=1e-5)


def test_as_many_clusters_as_histories_leave_everyone_their_own_gate(
    trained: tuple[Task, AdapterRecommender],
) -> None:
    task, ilora = trained
    cases = list(task.samples.asked.values())[: task.config.adapter.experts]
    changed = control("cluster-gate", task, ilora, cases)
    np.testing.assert_allclose(
        scores(changed, cases), scores(ilora, cases), atol=1e-5
    )  # in one batch, as gates are read


def test_a_history_of_one_item_has_no_other_order(trained: tuple[Task, AdapterRecommender]) -> None:
    task, ilora = trained
    cases = [replace(case, history=case.history[-1:]) for case in task.samples.asked.values()]
    found = scores(control("shuffled", task, ilora, cases), cases)
    np.testing.assert_array_equal(found, scores(ilora, cases))


def test_without_its_history_a_case_is_asked_by_its_candidates_alone(
    trained: tuple[Task, AdapterRecommender],
) -> None:
    task, ilora = trained
    blind = control("history-blind", task, ilora)
    histories = tiny.histories(2, seed=5)
    rows = [tiny.candidates(1)[0]] * 2
    first, second = blind.score(histories, rows)
    np.testing.assert_allclose(first, second, atol=1e-5)
    asked = [[], []]
    np.testing.assert_allclose(blind.score(asked, rows)[0], first, atol=1e-5)


def test_without_a_trained_method_there_is_no_control(trained: tuple[Task, AdapterRecommender]) -> None:
    task, _ = trained
    with pytest.raises(ValueError, match="was given none"):
        method_class("mean-gate")().fit(task)


# --- what is changed ---------------------------------------------------------------------------------------


def test_a_shuffled_history_has_the_same_items_in_an_order_of_the_seed() -> None:
    history = list(range(30, 40))
    first, again, other = shuffled(history, 0), shuffled(history, 0), shuffled(history, 1)
    assert sorted(first) == history and first == again
    assert len({tuple(history), tuple(first), tuple(other)}) == 3
    assert shuffled([7], 0) == [7]


def test_a_swapped_gate_is_always_another_users_and_of_two_users_the_second_swap_undoes_the_first() -> None:
    for seed in range(20):
        found = swapped_gate(OMEGA, USERS, seed)
        for row, user in zip(found, USERS, strict=True):
            (origin,) = np.flatnonzero((row == OMEGA).all(axis=(1, 2)))
            assert USERS[origin] != user
        two = USERS[:6]
        once = swapped_gate(OMEGA[:6], two, seed)
        np.testing.assert_array_equal(swapped_gate(once, two, seed), OMEGA[:6])


def test_one_user_alone_has_nobody_to_swap_with() -> None:
    with pytest.raises(InputError, match="two test users"):
        swapped_gate(OMEGA[:3], ["a"] * 3, 0)


def test_mean_and_cluster_gates_are_distributions_at_every_site() -> None:
    for found in (mean_gate(OMEGA), cluster_gate(OMEGA, 3, 0)):
        assert found.shape == OMEGA.shape
        np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)
    assert len(np.unique(mean_gate(OMEGA), axis=0)) == 1
    assert len(np.unique(cluster_gate(OMEGA, 3, 0), axis=0)) == 3
    np.testing.assert_allclose(cluster_gate(OMEGA, 12, 0), OMEGA, atol=1e-7)
