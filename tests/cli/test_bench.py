"""The benchmark as a person or a script runs it: JSON lines, exit codes, Ctrl-C, one line for bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from core.events import Event
from core.lm import loading as loading_module
from core.methods import control_methods
from core.results.store import load_results
from ilora_app.cli import main
from ilora_app.cli.bench import DEFAULT_METHODS, _methods
from ilora_app.cli.running import kept_command
from tests import tiny

ROOT = Path(__file__).parents[2]
METHODS = DEFAULT_METHODS.split(",")


def options(model: Path | str, out: Path, *more: str) -> list[str]:
    return [
        "bench", "--dataset", "tiny", "--model", str(model), "--quantize", "none", "--preset", "quick",
        "--layers", "2", "--rank", "4", "--samples", "320", "--micro-batch", "8", "--out", str(out), *more,
    ]  # fmt: skip


# --- a whole run, as a process -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("shop")
    return {**os.environ, **tiny.install(folder / "home", folder / "mirror"), "OMP_NUM_THREADS": "1"}


def start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ilora_app", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(arguments: list[str], environment: dict[str, str]) -> tuple[list[dict[str, Any]], str]:
    """Events and stderr of a run that must succeed."""
    with start(arguments, environment) as process:
        out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return [event_of(line) for line in out.splitlines()], err


def event_of(line: str) -> dict[str, Any]:
    Event.from_json(line)  # every line is an event, and nothing else is printed
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.fixture(scope="module")
def whole(
    environment: dict[str, str], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """A finished benchmark of the default methods and its events."""
    out = tmp_path_factory.mktemp("whole") / "runs"
    events, _ = finish(options(tiny_model, out, "--json"), environment)
    return out, events


@pytest.mark.slow
def test_the_default_methods_print_events_only_and_leave_complete_results(
    whole: tuple[Path, list[dict[str, Any]]],
) -> None:
    out, events = whole
    assert events[-1]["event"] == "Finished"
    finished = [event for event in events if event["event"] == "MethodFinished"]
    assert [event["method"] for event in finished] == METHODS
    for event in finished:
        assert Path(event["path"]).is_file()
    reports = [event["path"] for event in events if event["event"] == "Saved" and event["what"] == "report"]
    assert {Path(path).name for path in reports} >= {
        "report.html",
        "report.md",
        "results.jsonl",
        "results.csv",
    }
    assert all(Path(path).stat().st_size for path in reports)
    results, problems = load_results(out)
    assert not problems
    assert {result.method for result in results} == set(METHODS)
    assert len({result.samples_sha256 for result in results}) == 1
    for event in finished:
        record = json.loads(Path(event["path"]).read_text())
        assert {
            "dataset", "split", "method", "objective", "model", "quantization", "seed", "config",
            "samples_sha256", "metrics", "cases", "parameters", "timings", "peak_memory_bytes", "versions",
            "command",
        } <= set(record)  # fmt: skip
        assert record["command"].startswith("ilora-app bench --dataset tiny")
        assert {case["set"] for case in record["cases"]} == {"last", "spread"}


@pytest.mark.slow
def test_the_same_command_again_reuses_every_result(
    whole: tuple[Path, list[dict[str, Any]]], environment: dict[str, str], tiny_model: Path
) -> None:
    out, _ = whole
    before = {path: path.stat().st_mtime_ns for path in (out / "results").iterdir()}
    events, _ = finish(options(tiny_model, out, "--json"), environment)
    finished = [event for event in events if event["event"] == "MethodFinished"]
    assert [event["reused"] for event in finished] == [True] * len(METHODS)
    assert not [event for event in events if event["event"] == "StageStarted"]
    assert {path: path.stat().st_mtime_ns for path in (out / "results").iterdir()} == before


@pytest.mark.slow
def test_a_sweep_runs_each_cell_once_and_a_uniform_gate_ranks_as_lora(
    environment: dict[str, str], tiny_model: Path, tmp_path: Path
) -> None:
    sweep = ["--methods", "lora,ilora", "--samples", "64", "--sweep", "gate=softmax,uniform", "--json"]
    arguments = options(tiny_model, tmp_path / "runs", *sweep)
    events, _ = finish(arguments, environment)
    finished = [(event["method"], event["reused"]) for event in events if event["event"] == "MethodFinished"]
    assert finished == [("lora", False), ("ilora", False), ("lora", True), ("ilora", False)]
    results, _ = load_results(tmp_path / "runs")
    ranks = {
        (result.method, result.config.get("gate", {}).get("kind")): [case.rank for case in result.cases]
        for result in results
    }
    assert ranks["ilora", "uniform"] == ranks["lora", None]
    again, _ = finish(arguments, environment)
    assert all(event["reused"] for event in again if event["event"] == "MethodFinished")


@pytest.mark.slow
def test_the_table_is_rebuilt_from_disk(
    whole: tuple[Path, list[dict[str, Any]]], environment: dict[str, str]
) -> None:
    out, _ = whole
    with start(["results", "--out", str(out)], environment) as process:
        shown, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    for method in METHODS:
        assert method.lower().replace("-", "") in shown.lower().replace("-", "").replace(" ", "")
    with start(["results", "--out", str(out), "--json"], environment) as process:
        text, _ = process.communicate(timeout=60)
    tables = json.loads(text)
    assert "tiny" in text
    assert tables


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send")
@pytest.mark.parametrize(("stage", "number"), [("train", signal.SIGINT), ("test", signal.SIGTERM)])
def test_ctrl_c_saves_and_exits_130_and_the_same_command_goes_on(
    whole: tuple[Path, list[dict[str, Any]]],
    environment: dict[str, str],
    tiny_model: Path,
    tmp_path: Path,
    stage: str,
    number: int,
) -> None:
    out = tmp_path / "runs"
    arguments = options(tiny_model, out, "--methods", "sasrec,ilora", "--json")
    with start(arguments, environment) as process:
        assert process.stdout is not None
        events = []
        for line in process.stdout:
            events.append(event_of(line))
            here = events[-1].get("stage") == stage and events[-1].get("method") == "ilora"
            if here and (stage == "test" or events[-1]["event"] == "StepLogged"):
                process.send_signal(number)
                break
        events += [event_of(line) for line in process.stdout]
        assert process.stderr is not None
        err = process.stderr.read()
        process.wait(timeout=60)
    if stage == "train":
        assert process.returncode == 130, err
        assert [event["stage"] for event in events if event["event"] == "Stopped"]
        assert "Traceback" not in err
        assert {result.method for result in load_results(out)[0]} == {"sasrec"}
    else:  # eight cases may be over before the signal arrives
        assert process.returncode in (0, 130), err
    again, _ = finish(arguments, environment)
    if stage == "train":
        going_on = [event["text"] for event in again if event["event"] == "Notice"]
        assert any("going on from step" in text for text in going_on)
    resumed = {result.method: result for result in load_results(out)[0]}
    alone = {result.method: result for result in load_results(whole[0])[0]}
    for method in ("sasrec", "ilora"):
        assert resumed[method].cases == alone[method].cases


@pytest.mark.slow
def test_a_person_sees_a_leaderboard(
    whole: tuple[Path, list[dict[str, Any]]], environment: dict[str, str], tiny_model: Path
) -> None:
    out, _ = whole
    with start(options(tiny_model, out), {**environment, "COLUMNS": "160"}) as process:
        shown, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    for text in ("HR@1", "NDCG@10", "MRR", "95", "reported"):
        assert text.lower() in shown.lower(), text


# --- bad input: one line, a hint, exit 2, nothing half-written ---------------------------------------------


@pytest.fixture
def run(tiny_home: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Runs the command line in this process; exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        written = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, written.out, written.err

    yield run


def complained(outcome: tuple[int, str, str], says: str) -> None:
    code, out, err = outcome
    lines = err.splitlines()
    assert code == 2, err
    assert lines[-2].startswith("error: "), err
    assert lines[-1].startswith("hint: "), err
    assert says in lines[-2]
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dataset", "nowhere"], "unknown dataset 'nowhere'"),
        (["--methods", "ilora,magic"], "unknown method: magic"),
        (["--methods", ","], "no methods"),
        (["--preset", "fast"], "unknown preset: fast"),
        (["--quantize", "nf3"], "unknown quantization: nf3"),
        (["--objective", "guess"], "unknown objective: guess"),
        (["--protocol", "guess"], "unknown protocol: guess"),
        (["--protocol", "generate"], "--protocol generate needs a model that was trained to write"),
        (["--protocol", "constrained", "--objective", "listwise"], "--protocol constrained needs"),
        (["--curriculum"], "belong to the language-model objective"),
        (["--split", "random"], "unknown split"),
        (["--encoder", "bert"], "unknown encoder: bert"),
        (["--methods", "all,ilora"], "unknown method: all"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--seeds", "-2"], "--seeds is -2"),
        (["--seeds", "many"], "--seeds"),
        (["--experts", "3"], "3 experts do not divide rank"),
        (["--rank", "0"], "rank is 0"),
        (["--layers", "-1"], "layers is -1"),
        (["--micro-batch", "0"], "micro-batch is 0"),
        (["--micro-batch", "7"], "micro-batch 7 does not divide"),
        (["--samples", "-5"], "samples is -5"),
        (["--learning-rate", "0"], "learning rate is 0"),
        (["--learning-rate", "nan"], "learning rate is nan"),
        (["--model", "/no/such/folder"], "no such model folder"),
        (["--model", "missing.gguf"], "no such GGUF file"),
        (["--model", ""], "model's name is empty"),
        (["--invented"], "--invented"),
        (["--sweep", "gate=softmax,magic"], "unknown gate: magic"),
        (["--sweep", "gates=softmax"], "cannot sweep gates=softmax"),
        (["--sweep", "experts=2,3"], "3 experts do not divide rank"),
        (["--sweep", "quantize=none,nf3"], "unknown quantization: nf3"),
        (["--sweep", "model=/no/such/folder,/none/either"], "no such model folder"),
        (["--sweep", "gate=softmax", "--budget", "5"], "--budget"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_are_one_line_and_leave_nothing(
    run: Any, tmp_path: Path, tiny_model: Path, arguments: list[str], says: str
) -> None:
    out = tmp_path / "runs"
    complained(run(*options(tiny_model, out, *arguments)), says)
    assert not out.exists() or not [path for path in out.rglob("*") if path.is_file()]


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_an_output_folder_that_is_a_file_is_refused_and_kept(
    run: Any, tmp_path: Path, tiny_model: Path, json_too: list[str]
) -> None:
    out = tmp_path / "mine"
    out.write_text("precious")
    code, _, err = run(*options(tiny_model, out, *json_too))
    assert code == 2
    assert "is a file, not a folder" in err
    assert out.read_text() == "precious"


def test_an_output_folder_that_cannot_be_written_is_refused(
    run: Any, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    complained(run(*options(tiny_model, tmp_path / "runs")), "cannot write to")


def test_not_enough_memory_is_said_before_loading(
    run: Any, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading_module, "pick_device", lambda *_: torch.device("cpu"))
    monkeypatch.setattr(loading_module, "free_memory", lambda: 10_000)
    monkeypatch.setattr(loading_module, "_load", lambda *_: pytest.fail("it was loaded"))
    complained(run(*options(tiny_model, tmp_path / "runs")), "GiB are free")
    assert not (tmp_path / "runs" / "results").exists()


def test_an_older_result_is_named_with_what_to_do(run: Any, tmp_path: Path, tiny_model: Path) -> None:
    out = tmp_path / "runs"
    arguments = options(tiny_model, out, "--methods", "popularity")
    assert run(*arguments)[0] == 0
    (path,) = (out / "results").glob("*.json")
    record = json.loads(path.read_text())
    record["format"] = 0
    path.write_text(json.dumps(record))
    complained(run(*arguments), path.name)
    assert json.loads(path.read_text()) == record


def test_json_tells_the_failure_as_an_event_too(run: Any, tmp_path: Path, tiny_model: Path) -> None:
    code, out, err = run(*options(tmp_path / "nowhere", tmp_path / "runs", "--json"))
    assert code == 2
    events = [event_of(line) for line in out.splitlines()]
    assert events[-1]["event"] == "Failed"
    assert "no such model folder" in events[-1]["title"]
    assert err.splitlines()[0].startswith("error: ")


def test_all_means_every_dataset_that_comes_with_the_program() -> None:
    from ilora_app.cli.bench import _datasets

    assert _datasets("all") == ["lastfm", "movielens", "steam"]
    assert _datasets(None) == [None] and _datasets("books") == ["books"]


def test_results_keep_the_command_without_the_folders_of_whoever_ran_it() -> None:
    given = ["bench", "--out", "/home/me/runs", "--seeds", "2", "--tensorboard=logs", "--dataset", "my books"]
    assert kept_command(given) == "ilora-app bench --seeds 2 --dataset 'my books'"
    assert kept_command(["train", "config.toml"]) == "ilora-app train config.toml"


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:9/v1"])
def test_all_and_controls_stand_for_methods_and_all_needs_nothing_beside_it_but_controls(
    url: str | None,
) -> None:
    controls = control_methods()
    assert _methods("lora,ilora,controls", url) == ("lora", "ilora", *controls)
    everything = _methods("all", url)
    assert "lora-z" in everything and not {*everything} & {*controls}
    assert ("chat" in everything) == (url is not None)
    assert _methods("all,controls", url) == (*everything, *controls)
    assert _methods("all,ilora", url) == ("all", "ilora")  # and "all" is then refused as no method
