"""The question on screen: edits are exact, and all of them can be taken back."""

from __future__ import annotations

import pytest

from core.serving.protocol import BENCHMARK, CATALOGUE, RAISED, Question
from ilora_app.tui.state.explore_state import ExploreState
from ilora_app.tui.state.run_data import RunData, User
from tests.tui.stand_in import opened, ranked

RUN_DATA = RunData(opened=opened(1, None, "ilora")[0])  # type: ignore[arg-type]
USER = User("1", "test", list(range(100, 120)), list(range(20)))


@pytest.fixture
def explored() -> ExploreState:
    made = ExploreState(RUN_DATA)
    made.choose(User("2", "test", [5, 9, 2, 14, 7, 30, 21, 44], list(range(8))))
    return made


def answer(explored: ExploreState) -> None:
    explored.answer(ranked(1, Question(**explored.question())))  # type: ignore[arg-type]


def test_it_looks_at_the_last_target_and_at_most_ten_items_before_it() -> None:
    explored = ExploreState(RUN_DATA)
    explored.choose(USER)
    assert explored.target == 119
    assert explored.history == list(range(109, 119))


def test_a_position_too_early_or_too_late_becomes_the_nearest_one() -> None:
    explored = ExploreState(RUN_DATA)
    explored.choose(USER, 0)
    assert explored.position == 3
    explored.choose(USER, 99)
    assert explored.position == 19


def test_edits_change_what_is_asked_and_reset_takes_them_back(explored: ExploreState) -> None:
    answer(explored)
    before = list(explored.history)
    explored.drop(0)
    assert explored.move(0, 1) == 1
    assert explored.add(50)
    assert not explored.add(50)
    explored.weigh(2, 1.0)
    asked = Question(**explored.question())  # type: ignore[arg-type]
    assert asked.history == [2, 9, *before[3:], 50]
    assert asked.push is not None
    assert explored.weights() == pytest.approx([0, 0, 1, 0], abs=1e-3)
    explored.reset()
    assert Question(**explored.question()) == Question(**explored.question(original=True))  # type: ignore[arg-type]
    assert explored.history == before


def test_ten_items_are_the_most_and_the_oldest_makes_way() -> None:
    explored = ExploreState(RUN_DATA)
    explored.choose(USER)
    explored.add(1)
    assert explored.history == [*range(110, 119), 1]


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.999, 1.0, 1.7, -0.2])
def test_weights_sum_to_one_whatever_is_dragged(explored: ExploreState, weight: float) -> None:
    answer(explored)
    explored.weigh(1, weight)
    explored.weigh(3, 1.0)
    explored.weigh(3, 0.4)  # from a lock back: the others share what is left
    weights = explored.weights()
    assert weights is not None
    assert weights[3] == pytest.approx(0.4, abs=1e-6)
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0


def test_a_push_up_and_back_down_leaves_no_trace_in_the_question(explored: ExploreState) -> None:
    answer(explored)
    before = explored.question()
    for by in (0.25, 0.25, 0.25, -0.25, -0.25, -0.25):
        assert explored.nudge(1, by)
    assert explored.question() == before
    assert not explored.edited


def test_a_push_changes_every_layers_own_weights_alike_and_a_lock_gives_all_of_each_to_one(
    explored: ExploreState,
) -> None:
    explored.answer(ranked(1, Question(**explored.question()), layers=6))  # type: ignore[arg-type]
    own = explored.layers()
    assert own[0] != own[1]
    explored.nudge(2, 1.0)
    for row, changed in zip(own, explored.layers(), strict=True):
        assert sum(changed) == pytest.approx(1)
        assert changed[2] / changed[0] == pytest.approx(row[2] / row[0] * 2.718281828)
        assert changed[1] / changed[0] == pytest.approx(row[1] / row[0])
    explored.lock(3)
    assert explored.layers() == [[0, 0, 0, 1]] * 6
    explored.lock(3)
    assert explored.edit.lock is None
    assert explored.edit.push == (0, 0, 1.0, 0)


def test_every_edit_push_and_lock_is_undone_and_made_again(explored: ExploreState) -> None:
    answer(explored)
    seen = [explored.edit]
    for change in (
        lambda: explored.drop(0),
        lambda: explored.add(50),
        lambda: explored.move(0, 1),
        lambda: explored.nudge(1, 0.25),
        lambda: explored.weigh(2, 0.8),
        lambda: explored.lock(0),
        explored.reset,
    ):
        change()
        assert explored.edit != seen[-1]
        seen.append(explored.edit)
    for edit in reversed(seen[:-1]):
        assert explored.wind(back=True)
        assert explored.edit == edit
    assert not explored.wind(back=True)
    for edit in seen[1:]:
        assert explored.wind(back=False)
        assert explored.edit == edit
    assert not explored.wind(back=False)
    explored.wind(back=True)
    explored.drop(0)
    assert not explored.wind(back=False)


def test_a_taste_of_ones_own_is_kept_while_users_are_looked_at() -> None:
    explored = ExploreState(RUN_DATA)
    explored.start_own()
    explored.add(3)
    explored.add(9)
    explored.choose(USER)
    assert explored.source == BENCHMARK
    assert explored.history != [3, 9]
    explored.start_own()
    assert explored.history == [3, 9]
    explored.start_own()
    assert explored.history == [3, 9]


def test_movement_is_measured_against_the_unedited_answer(explored: ExploreState) -> None:
    answer(explored)
    base = explored.base
    explored.drop(0)
    answer(explored)
    assert explored.base is base
    assert base is not None
    assert explored.before(base.items[4]) == 5
    assert explored.before(-1) is None


def test_a_taste_of_ones_own_asks_the_catalogue_only() -> None:
    explored = ExploreState(RUN_DATA)
    explored.start_own()
    assert explored.source == CATALOGUE
    assert explored.switch_source()
    assert explored.source == RAISED
    assert explored.switch_source()
    assert explored.source == CATALOGUE
    explored.choose(USER)
    explored.source = BENCHMARK
    assert explored.switch_source()
