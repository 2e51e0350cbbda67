"""Event files for TensorBoard, read back as it reads them: every curve, one step axis, a folder per run."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.benchmark.run import Plan, run_benchmark
from core.config.presets import with_overrides
from core.errors import InputError, Interrupted
from core.events import Event, MethodFinished, PlanMade, SettingTried, StepLogged
from core.results.store import load_results
from core.training import loop
from ilora_app.cli import main
from ilora_app.render import tensorboard as tensorboard_module
from ilora_app.render.tensorboard import board, check_board, entropy, step_figures
from tests import tiny

Curve = list[tuple[int, float]]


def curves(folder: Path) -> dict[str, Curve]:
    """Tag -> steps and values of a folder's event files, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def steps(curve: Curve) -> list[int]:
    return [step for step, _ in curve]


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out for being too soon after the step before."""
    monkeypatch.setattr(loop, "LOG_SECONDS", 0.0)


@pytest.fixture
def run(tiny_home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        written = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, written.out, written.err

    return run


def arguments(command: str, model: Path, out: Path, *more: str) -> list[str]:
    return [
        command, "--dataset", "tiny", "--model", str(model), "--quantize", "none", "--preset", "quick",
        "--layers", "2", "--rank", "4", "--samples", "64", "--micro-batch", "8", "--out", str(out), *more,
    ]  # fmt: skip


# --- whole runs --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["live", "json"])
def test_a_training_leaves_its_curves_its_gate_and_its_figures(
    run: Any, tiny_model: Path, tmp_path: Path, as_json: list[str]
) -> None:
    logs = tmp_path / "logs"
    code, out, err = run(
        *arguments("train", tiny_model, tmp_path / "runs"), "--tensorboard", str(logs), *as_json
    )
    assert code == 0, err
    if as_json:
        assert all(Event.from_json(line) for line in out.splitlines())
    ((result,), _) = load_results(tmp_path / "runs")
    name = f"tiny.paper.ilora.seed0.{result.config_sha256[:8]}"
    assert {path.name.split(".")[2] for path in logs.iterdir()} == {"ilora", "sasrec"}
    found = curves(logs / name)
    assert steps(found["train/loss"]) == [1, 2, 3, 4]
    assert {"train/learning_rate", "train/samples_per_second", "gate/entropy"} <= set(found)
    experts = [found[f"gate/expert_{number}"] for number in (1, 2, 3, 4)]
    for place, (step, value) in enumerate(found["gate/entropy"]):
        weights = [expert[place][1] for expert in experts]
        assert (sum(weights), value) == pytest.approx((1, entropy(weights)), abs=1e-4), step
    assert steps(found["validation/MRR"]) == [int(row["step"]) for row in result.history if row["step"]]
    for test_set, values in result.metrics.items():
        for metric, value in values.items():
            assert found[f"test/{test_set}/{metric}"] == [(4, pytest.approx(value.value, abs=1e-6))]


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_home")
def test_a_stopped_run_goes_on_along_the_same_steps(tiny_model: Path, tmp_path: Path) -> None:
    plan = Plan(tiny.config(tiny_model), ("lora",), (0,), tmp_path / "runs")
    seen: list[int] = []
    with board(tmp_path / "logs") as watch, pytest.raises(Interrupted):

        def emit(event: Event) -> None:
            watch(event)
            if isinstance(event, StepLogged) and (event.method, event.stage) == ("lora", "train"):
                seen.append(event.step)

        run_benchmark(plan, emit, lambda: len(seen) >= 2)
    assert seen == [1, 2]
    with board(tmp_path / "logs") as watch:
        (result,) = run_benchmark(plan, watch)
    (folder,) = (tmp_path / "logs").glob("tiny.paper.lora.*")
    assert len(list(folder.glob("events.*"))) == 2
    found = curves(folder)
    assert steps(found["train/loss"]) == [1, 2, 3, 4, 5, 6]
    assert steps(found["test/spread/HR@1"]) == [6]
    assert "gate/entropy" not in found
    with board(tmp_path / "logs") as watch:
        assert run_benchmark(plan, watch) == [result]
    assert curves(folder) == found  # nothing is said twice


@pytest.mark.usefixtures("tiny_home")
def test_tuning_has_a_folder_for_each_setting_and_the_figures_are_the_chosen_ones(tmp_path: Path) -> None:
    config = with_overrides(tiny.config("unused"), encoder={"tune": True})
    with board(tmp_path / "logs") as watch:
        run_benchmark(Plan(config, ("sasrec", "popularity"), (0, 1), tmp_path / "runs"), watch)
    folders = sorted(path for path in (tmp_path / "logs").iterdir())
    assert [path.name.split(".")[2:4] for path in folders] == [
        ["popularity", "seed0"], ["popularity", "seed1"], ["sasrec", "seed0"], ["sasrec", "seed1"],
    ]  # fmt: skip
    for folder in folders[2:]:
        settings = [path for path in folder.iterdir() if path.is_dir()]
        assert {path.name for path in settings} == {
            f"learning-rate-{rate}-dropout-{dropout}" for rate in (0.001, 0.002) for dropout in (0.3, 0.5)
        }
        for setting in settings:
            found = steps(curves(setting)["train/loss"])
            assert found == sorted(set(found)) and found[0] == 1
        assert all(tag.startswith("test/") for tag in curves(folder))


# --- single events -----------------------------------------------------------------------------------------


def plan_made() -> PlanMade:
    return PlanMade("tiny", "paper", "quick", ["lora"], [0], tiny.config().to_dict(), 1.0, "5a", {"last": 4})


def step(number: int, loss: float = 1.0) -> StepLogged:
    return StepLogged("lora", 0, "train", number, 10, loss=loss)


@pytest.mark.usefixtures("tiny_home")
def test_what_was_logged_beyond_the_last_checkpoint_is_hidden_by_what_is_trained_anew(tmp_path: Path) -> None:
    for first, loss in ((1, 1.0), (3, 2.0)):
        with board(tmp_path / "board") as watch:
            watch(plan_made())
            for number in range(first, first + 4):
                watch(step(number, loss))
    (folder,) = (tmp_path / "board").iterdir()
    assert curves(folder)["train/loss"] == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0), (6, 2.0)]


@pytest.mark.usefixtures("tiny_home")
def test_a_result_that_was_there_before_is_logged_where_nothing_is(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    from tests.made_up import result

    path.write_text(result("lora", history=({"step": 100, "MRR": 0.5},)).to_json())
    event = MethodFinished("lora", 0, str(path), True, {"last": {"HR@1": 0.25}})
    for _ in range(2):
        with board(tmp_path / "logs") as watch:
            watch(plan_made())
            watch(event)
    (folder,) = (tmp_path / "logs").iterdir()
    assert curves(folder) == {"test/last/HR@1": [(100, 0.25)]}


def test_figures_that_a_step_does_not_have_are_left_out() -> None:
    assert step_figures(StepLogged("lora", 0, "train", 1, 2)) == {}
    assert step_figures(StepLogged("ilora", 0, "train", 1, 2, gate=[0.5, 0.5, 0.0])) == {
        "gate/expert_1": 0.5, "gate/expert_2": 0.5, "gate/expert_3": 0.0, "gate/entropy": math.log(2),
    }  # fmt: skip


def test_without_a_folder_nothing_happens() -> None:
    check_board(None)
    with board(None) as watch:
        watch(step(1))


def test_a_tried_setting_can_be_read_back() -> None:
    event = SettingTried("sasrec", 1, "learning rate 0.001, dropout 0.3")
    assert Event.from_json(event.to_json()) == event


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["bench", "train"])
def test_a_missing_package_is_one_line_before_anything_is_trained(
    run: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        tensorboard_module, "find_spec", lambda name: None if name == "tensorboard" else real(name)
    )
    given = arguments(command, tiny_model, tmp_path / "runs", "--tensorboard", str(tmp_path / "logs"))
    code, out, err = run(*given)
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "error: --tensorboard needs the package tensorboard",
        "hint: pip install tensorboard",
    ]
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "logs").exists()
    code, out, _ = run(*given, "--json")
    assert code == 2
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["Failed"]


def test_a_file_in_place_of_the_folder_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "mine"
    file.write_text("precious")
    for folder in (file, file / "below"):
        with pytest.raises(InputError, match="cannot write to"):
            check_board(folder)
    assert file.read_text() == "precious"
