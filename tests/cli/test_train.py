"""Training as a person does it: from options or a run file, kept as a folder, repeated by its own config."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.assets import hub
from core.results.store import load_results
from core.runs.store import read_run, result_of
from ilora_app.cli import main
from tests import tiny
from tests.cli.test_bench import event_of, finish, start

Run = Callable[..., tuple[int, str, str]]


def arguments(model: Path, out: Path, *more: str) -> list[str]:
    return [
        "train", "--dataset", "tiny", "--model", str(model), "--quantize", "none", "--preset", "quick",
        "--layers", "2", "--rank", "4", "--samples", "24", "--micro-batch", "8", "--out", str(out), *more,
    ]  # fmt: skip


@pytest.fixture
def run(tiny_home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process."""

    def call(*given: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(given))
        written = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, written.out, written.err

    return call


def only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_a_training_leaves_a_run_folder_and_its_config_repeats_it(
    run: Run, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    code, shown, err = run(*arguments(tiny_model, out))
    assert code == 0, err
    folder = only(out / "models")
    assert f"run: {folder}" in shown
    assert {"config.toml", "run.json", "result.json", "README.md", "adapter_config.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert result_of(folder) == load_results(out)[0][0]

    again = tmp_path / "again"
    assert run("train", str(folder / "config.toml"), "--out", str(again))[0] == 0
    repeated = only(again / "models")
    assert repeated.name == folder.name
    assert read_run(repeated).config == read_run(folder).config
    assert result_of(repeated).cases == result_of(folder).cases
    for name in ("adapter_model.safetensors", "ilora.safetensors", "encoder.safetensors", "config.toml"):
        assert (repeated / name).read_bytes() == (folder / name).read_bytes(), name


def test_the_benchmark_makes_the_very_same_run(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    bench, trained = tmp_path / "bench", tmp_path / "train"
    given = arguments(tiny_model, bench, "--methods", "lora")
    assert run("bench", *given[1:])[0] == 0
    assert run(*arguments(tiny_model, trained, "--method", "lora"))[0] == 0
    ours, theirs = only(trained / "models"), only(bench / "models")
    assert ours.name == theirs.name
    assert result_of(ours).cases == result_of(theirs).cases
    weights = "adapter_model.safetensors"
    assert (ours / weights).read_bytes() == (theirs / weights).read_bytes()


def test_options_override_the_file_and_the_file_the_preset(
    run: Run, tiny_model: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'method = "sasrec"\nseed = 2\npreset = "quick"\n[data]\ndataset = "tiny"\nspread_positions = 2\n'
        "[encoder]\nepochs = 2\nwidth = 16\n"
    )
    code, _, err = run("train", str(file), "--samples-seed", "5", "--seed", "4", "--out", str(tmp_path / "o"))
    assert code == 0, err
    info = read_run(only(tmp_path / "o" / "models"))
    assert (info.method, info.seed) == ("sasrec", 4)
    assert (info.config.data.samples_seed, info.config.data.spread_positions) == (5, 2)
    assert (info.config.encoder.epochs, info.config.encoder.width) == (2, 16)


def test_a_finished_training_is_not_repeated_but_a_lost_folder_is_made_anew(
    run: Run, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    given = ["train", "--dataset", "tiny", "--method", "sasrec", "--preset", "quick", "--out", str(out)]
    assert run(*given)[0] == 0
    folder = only(out / "models")
    before = (folder / "run.json").stat().st_mtime_ns
    assert run(*given)[0] == 0
    assert (folder / "run.json").stat().st_mtime_ns == before
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert run(*given)[0] == 0
    assert (folder / "run.json").is_file()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--method", "magic"], "unknown method: magic"),
        (["--method", "popularity"], "popularity has no training to keep"),
        (["--method", "zero-shot"], "zero-shot has no training to keep"),
        (["--seed", "-1"], "the seed is -1"),
        (["--rank", "four"], "--rank"),
        (["nowhere.toml", "--preset", "quick"], "exclude each other"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    run: Run, tiny_model: Path, tmp_path: Path, more: list[str], says: str
) -> None:
    code, out, err = run(*arguments(tiny_model, tmp_path / "runs", *more))
    lines = err.splitlines()
    assert code == 2
    assert out == ""
    assert lines[-2].startswith("error: "), err
    assert says in lines[-2]
    assert lines[-1].startswith("hint: ")
    assert not (tmp_path / "runs").exists()


def test_an_upload_happens_only_when_asked_for(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[Path, str]] = []

    def push(folder: Path, repository: str) -> str:
        sent.append((folder, repository))
        return "https://example.org/me/mine"

    monkeypatch.setattr(hub, "push_folder", push)
    given = ["train", "--dataset", "tiny", "--method", "sasrec", "--preset", "quick"]
    given += ["--out", str(tmp_path / "runs")]
    assert run(*given)[0] == 0
    assert sent == []
    code, out, _ = run(*given, "--push-to-hub", "me/mine")
    assert code == 0
    assert sent == [(only(tmp_path / "runs" / "models"), "me/mine")]
    assert "https://example.org/me/mine" in out


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send")
def test_ctrl_c_saves_and_exits_130_and_the_same_command_goes_on(tiny_model: Path, tmp_path: Path) -> None:
    environment = {**os.environ, **tiny.install(tmp_path / "home", tmp_path / "mirror")}
    given = arguments(tiny_model, tmp_path / "runs", "--samples", "96", "--json")
    with start(given, environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            event = event_of(line)
            if event["event"] == "StepLogged" and (event["method"], event["stage"]) == ("ilora", "train"):
                process.send_signal(signal.SIGINT)
                break
        rest = [event_of(line)["event"] for line in process.stdout]
        err = process.stderr.read()
        process.wait(timeout=60)
    assert process.returncode == 130, err
    assert "Stopped" in rest
    assert not (tmp_path / "runs" / "models").exists()
    events, _ = finish(given, environment)
    notices = [event["text"] for event in events if event["event"] == "Notice"]
    assert any("going on from step" in text for text in notices)
    record: Any = json.loads((only(tmp_path / "runs" / "models") / "run.json").read_text())
    assert record["method"] == "ilora"
