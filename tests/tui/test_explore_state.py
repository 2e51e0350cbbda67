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
    assert asked.omega == pytest.approx([0, 0, 1, 0])
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
    assert scene.omega is not None
    assert sum(scene.omega) == pytest.approx(1)
    assert min(scene.omega) >= 0


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
