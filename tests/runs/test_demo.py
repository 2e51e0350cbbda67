"""The demo that comes with the program: small, whole, answering from the first minute, worth what it says."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.benchmark.evaluate import evaluate_run
from core.benchmark.testing import rank_cases
from core.errors import ResultError
from core.events import Event
from core.ilora.model import ADAPTER_FILE
from core.recommenders.base import Task
from core.recommenders.encoders import ENCODER_FILE
from core.results.store import load_results
from core.results.tables import group_tables
from core.runs.compare import settings_apart
from core.runs.demo import DEMO, DEMO_OUT, demo_runs, opening
from core.runs.store import folder_bytes, open_run, read_run, remove_run, result_of
from core.serving.protocol import Survey, Surveyed
from core.serving.server import WarmEngine
from ilora_app.cli import main
from ilora_app.cli.choosing import DEFAULT_OUT, choose_run


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder where nobody has trained anything."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def surveyed(out: Path, dataset: str) -> Surveyed:
    said: list[Event] = []
    WarmEngine(said.append).answer(Survey(1, str(out), dataset))
    (answer,) = said
    assert isinstance(answer, Surveyed)
    return answer


def test_it_is_small_and_says_how_it_was_made() -> None:
    info, result = read_run(DEMO), result_of(DEMO)
    assert (info.method, info.dataset) == ("ilora", "movielens")
    assert folder_bytes(DEMO) < 6e6
    assert result.command.startswith("ilora-app bench --dataset movielens")
    assert result.seed == info.seed
    assert result.samples_sha256 == info.samples_sha256
    card = (DEMO / "README.md").read_text(encoding="utf-8")
    value = result.metrics["spread"]["HR@1"]
    assert f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]" in card
    assert all(weight.dtype == torch.bfloat16 for weight in load_file(DEMO / ADAPTER_FILE).values())


def test_all_of_it_is_of_the_same_cases_and_small() -> None:
    results, problems = load_results(DEMO_OUT)
    assert not problems
    assert {result.method for result in results} == {"popularity", "sasrec", "lora", "ilora"}
    assert len({result.samples_sha256 for result in results}) == 1
    (table,) = group_tables(results)
    assert table.gated_pair() is not None
    assert folder_bytes(DEMO_OUT) < 10e6


def test_the_twin_differs_in_the_gate_alone() -> None:
    gated, twin = (read_run(demo_runs()[method]) for method in ("ilora", "lora"))
    assert settings_apart(gated, twin) == {"method": ("ilora", "lora")}
    encoders = [(run.path / ENCODER_FILE).read_bytes() for run in (gated, twin)]
    assert encoders[0] == encoders[1]


def test_the_opening_user_is_of_validation_and_says_by_which_rule(home: Path) -> None:
    chosen = opening()
    assert chosen.rank < chosen.other
    assert "validation users" in chosen.rule
    tested = {case.user for case in result_of(DEMO).cases}
    assert chosen.user not in tested


def test_the_wheel_carries_all_of_it(tmp_path: Path) -> None:
    root = DEMO_OUT.parents[1]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=root,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    files = {str(file.relative_to(root)) for file in DEMO_OUT.rglob("*") if file.is_file()}
    assert files <= names


def test_results_are_there_before_anything_is_trained(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["results", "--json"])
    assert ended.value.code
    assert "--demo" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["results", "--json", "--demo"])
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    assert table["ilora_over_lora"]["spread"]["n"] == 949


def test_nothing_on_this_machine_is_named_in_it() -> None:
    for file in filter(Path.is_file, DEMO_OUT.rglob("*")):
        content = file.read_bytes()
        for path in (b"/home/", b"/root/", b"/tmp/", b"/work/", b"/Users/"):
            assert path not in content, file


def test_it_stands_in_until_there_is_a_run_where_runs_are_expected(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose_run(None, DEFAULT_OUT).path == DEMO
    assert "demo adapter" in capsys.readouterr().err
    assert choose_run("demo", DEFAULT_OUT).path == DEMO
    assert choose_run("demo-lora", DEFAULT_OUT).method == "lora"
    with pytest.raises(ResultError, match="no trained run in mine"):
        choose_run(None, Path("mine"))


def test_it_is_not_removed(elsewhere: Path) -> None:
    for path in demo_runs().values():
        with pytest.raises(ResultError, match="stays"):
            remove_run(path)
        assert read_run(path)


def test_the_screen_is_offered_it_for_its_own_dataset_only(elsewhere: Path, home: Path) -> None:
    records = surveyed(DEFAULT_OUT, "movielens").runs
    assert [record["method"] for record in records] == ["ilora", "lora", "sasrec"]
    assert records[0]["path"] == str(DEMO)
    assert all(record["demo"] for record in records)
    assert not surveyed(DEFAULT_OUT, "lastfm").runs


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_its_stated_figures_come_out() -> None:
    found = evaluate_run(DEMO)
    # To the case on a machine like the one it was made on; others round a bf16 sum otherwise, and of a set of
    # 95 cases one close call is .0105.
    assert found.moved <= 0.03 * found.cases
    for name, metrics in found.metrics.items():
        for metric, value in metrics.items():
            close = pytest.approx(found.stated[name][metric].value, abs=max(0.01, 2 / value.n))
            assert value.value == close, (name, metric)


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_its_twin_ranks_as_it_did_too() -> None:
    """Every fourth case: rank by rank says more than a figure of all."""
    run = open_run(demo_runs()["lora"])
    some = {name: cases[::4] for name, cases in run.samples.test.items()}
    samples = replace(run.samples, test=some)
    cases, _ = rank_cases(run.recommender, Task(run.dataset, samples, run.info.config, 0, DEMO))
    stated = {(case.set, case.place): case.rank for case in result_of(run.info.path).cases}
    assert len(cases) == sum(map(len, some.values())) > 250
    moved = sum(stated[case.set, case.place] != case.rank for case in cases)
    assert moved <= 0.03 * len(cases)
