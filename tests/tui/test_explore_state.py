"""The question on screen: edits are exact, and all of them can be taken back."""

from __future__ import annotations

import pytest

from core.serving.protocol import BENCHMARK, CATALOGUE, Question
from ilora_app.tui.state.explore_state import Scene
from ilora_app.tui.state.run_data import User, World
from tests.tui.stand_in import opened, ranked

WORLD = World(opened=opened(1, None, "ilora")[0])  # type: ignore[arg-type]
USER = User("1", "test", list(range(100, 120)), list(range(20)))


@pytest.fixture
def scene() -> Scene:
    made = Scene(WORLD)
    made.choose(User("2", "test", [5, 9, 2, 14, 7, 30, 21, 44], list(range(8))))
    return made


def answer(scene: Scene) -> None:
    scene.answer(ranked(1, Question(**scene.question())))  # type: ignore[arg-type]


def test_it_looks_at_the_last_target_and_at_most_ten_items_before_it() -> None:
    scene = Scene(WORLD)
    scene.choose(USER)
    assert scene.target == 119
    assert scene.history == list(range(109, 119))


def test_a_position_too_early_or_too_late_becomes_the_nearest_one() -> None:
    scene = Scene(WORLD)
    scene.choose(USER, 0)
    assert scene.position == 3
    scene.choose(USER, 99)
    assert scene.position == 19


def test_edits_change_what_is_asked_and_reset_takes_them_back(scene: Scene) -> None:
    answer(scene)
    before = list(scene.history)
    scene.drop(0)
    assert scene.move(0, 1) == 1
    assert scene.add(50)
    assert not scene.add(50)
    scene.weigh(2, 1.0)
    asked = Question(**scene.question())  # type: ignore[arg-type]
    assert asked.history == [2, 9, *before[3:], 50]
    assert asked.push is not None
    assert scene.weights() == pytest.approx([0, 0, 1, 0], abs=1e-3)
    scene.reset()
    assert Question(**scene.question()) == Question(**scene.question(original=True))  # type: ignore[arg-type]
    assert scene.history == before


def test_ten_items_are_the_most_and_the_oldest_makes_way() -> None:
    scene = Scene(WORLD)
    scene.choose(USER)
    scene.add(1)
    assert scene.history == [*range(110, 119), 1]


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.999, 1.0, 1.7, -0.2])
def test_weights_sum_to_one_whatever_is_dragged(scene: Scene, weight: float) -> None:
    answer(scene)
    scene.weigh(1, weight)
    scene.weigh(3, 1.0)
    scene.weigh(3, 0.4)  # from a lock back: the others share what is left
    weights = scene.weights()
    assert weights is not None
    assert weights[3] == pytest.approx(0.4, abs=1e-6)
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0


def test_a_push_up_and_back_down_leaves_no_trace_in_the_question(scene: Scene) -> None:
    answer(scene)
    before = scene.question()
    for by in (0.25, 0.25, 0.25, -0.25, -0.25, -0.25):
        assert scene.nudge(1, by)
    assert scene.question() == before
    assert not scene.edited


def test_a_push_changes_every_layers_own_weights_alike_and_a_lock_gives_all_of_each_to_one(
    scene: Scene,
) -> None:
    scene.answer(ranked(1, Question(**scene.question()), layers=6))  # type: ignore[arg-type]
    own = scene.layers()
    assert own[0] != own[1]
    scene.nudge(2, 1.0)
    for row, changed in zip(own, scene.layers(), strict=True):
        assert sum(changed) == pytest.approx(1)
        assert changed[2] / changed[0] == pytest.approx(row[2] / row[0] * 2.718281828)
        assert changed[1] / changed[0] == pytest.approx(row[1] / row[0])
    scene.lock(3)
    assert scene.layers() == [[0, 0, 0, 1]] * 6
    scene.lock(3)
    assert scene.edit.lock is None
    assert scene.edit.push == (0, 0, 1.0, 0)


def test_every_edit_push_and_lock_is_undone_and_made_again(scene: Scene) -> None:
    answer(scene)
    seen = [scene.edit]
    for change in (
        lambda: scene.drop(0),
        lambda: scene.add(50),
        lambda: scene.move(0, 1),
        lambda: scene.nudge(1, 0.25),
        lambda: scene.weigh(2, 0.8),
        lambda: scene.lock(0),
        scene.reset,
    ):
        change()
        assert scene.edit != seen[-1]
        seen.append(scene.edit)
    for edit in reversed(seen[:-1]):
        assert scene.wind(back=True)
        assert scene.edit == edit
    assert not scene.wind(back=True)
    for edit in seen[1:]:
        assert scene.wind(back=False)
        assert scene.edit == edit
    assert not scene.wind(back=False)
    scene.wind(back=True)
    scene.drop(0)
    assert not scene.wind(back=False)


def test_a_taste_of_ones_own_is_kept_while_users_are_looked_at() -> None:
    scene = Scene(WORLD)
    scene.start_own()
    scene.add(3)
    scene.add(9)
    scene.choose(USER)
    assert scene.source == BENCHMARK
    assert scene.history != [3, 9]
    scene.start_own()
    assert scene.history == [3, 9]
    scene.start_own()
    assert scene.history == [3, 9]


def test_movement_is_measured_against_the_unedited_answer(scene: Scene) -> None:
    answer(scene)
    base = scene.base
    scene.drop(0)
    answer(scene)
    assert scene.base is base
    assert base is not None
    assert scene.before(base.items[4]) == 5
    assert scene.before(-1) is None


def test_a_taste_of_ones_own_asks_the_catalogue_only() -> None:
    scene = Scene(WORLD)
    scene.start_own()
    assert scene.source == CATALOGUE
    assert not scene.switch_source()
    scene.choose(USER)
    scene.source = BENCHMARK
    assert scene.switch_source()
