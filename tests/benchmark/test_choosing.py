"""`auto` takes the larger preset where it is through soon, says why, and stays with what it chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.benchmark import choosing, estimates
from core.benchmark.choosing import SOON, choose
from core.benchmark.costs import Stage
from core.config.presets import preset_config, with_overrides
from core.config.settings import RunConfig

pytestmark = pytest.mark.usefixtures("tiny_home")

RUNS = [("sasrec", 0), ("ilora", 0)]


def configs(name: str) -> list[RunConfig]:
    return [with_overrides(preset_config(name), data={"dataset": "tiny"})]


def takes(monkeypatch: pytest.MonkeyPatch, standard: float, quick: float = 3.0) -> None:
    """Sets what each preset is thought to take."""

    def stages(config: RunConfig, *_: Any) -> list[list[Stage]]:
        minutes = standard if config == configs("standard")[0] else quick
        return [[Stage("train", "ilora", 60 * minutes)]]

    monkeypatch.setattr(estimates, "stages", stages)


def test_the_larger_one_where_it_is_through_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    takes(monkeypatch, standard=SOON)
    found = choose(configs, RUNS)
    assert found.preset == "standard"
    assert "about 20 min" in found.why


def test_the_smaller_one_else_and_both_times_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    takes(monkeypatch, standard=1234.0, quick=5.4)
    found = choose(configs, RUNS)
    assert found.preset == "quick"
    assert "about 5 min" in found.why
    assert "about 1,234 min" in found.why


def test_a_choice_is_kept_so_that_a_stopped_benchmark_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(monkeypatch, standard=1234.0)
    first = choose(configs, RUNS, tmp_path)
    takes(monkeypatch, standard=1.0)  # the machine is less busy now
    assert choose(configs, RUNS, tmp_path).preset == first.preset == "quick"
    assert choose(configs, RUNS[:1], tmp_path).preset == "standard"  # something else was asked
    for path in (tmp_path / "work" / "presets").iterdir():
        path.write_text("damaged")
    assert choose(configs, RUNS, tmp_path).preset == "standard"


def test_the_larger_one_is_asked_about_first_and_alone_where_it_will_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    takes(monkeypatch, standard=2.0)
    choose(lambda name: asked.append(name) or configs(name), RUNS)  # type: ignore[func-returns-value]
    assert asked == [choosing.LARGER]
