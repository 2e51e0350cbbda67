"""Two processes are one run: the same weights and metrics, nothing written twice, nobody left waiting."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.config.settings import ModelConfig
from core.errors import InputError
from core.lm import loading
from core.lm.sharding import check_sharding
from core.training import parallel
from tests import tiny
from tests.processes import PLANS, Uneven, asked
from tests.training.test_loop import run

ROOT = Path(__file__).parents[2]


def launch(*arguments: str, count: int = 2, sharded: bool = False) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of processes started as a launcher would, which may ask for FSDP."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",  # what is tested are processes on CPUs
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        **dict.fromkeys((parallel.SHARDED, parallel.LOADING), str(sharded).lower()),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.processes", *arguments],
            cwd=ROOT,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=240) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "sharded"])
def done(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """Where two processes wrote, and what each of them noted, with a whole model each or in lockstep."""
    folder = tmp_path_factory.mktemp("two")
    ended = launch("parts", str(folder), sharded=request.param)
    assert [code for code, _, _ in ended] == [0, 0], ended
    return folder, [json.loads((folder / f"record-{rank}.json").read_text()) for rank in range(2)]


# --- training ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLANS)
def test_two_processes_learn_what_one_learns(
    tmp_path: Path, done: tuple[Path, list[dict[str, Any]]], name: str
) -> None:
    """Also with uneven shares, an empty one, and weights that only some samples or none give a gradient."""
    folder, _ = done
    alone = Uneven()
    run(alone, tmp_path, PLANS[name])
    first, second = (load_file(folder / f"{name}-{rank}.safetensors") for rank in range(2))
    for key, expected in alone.state().items():
        torch.testing.assert_close(first[key], expected, rtol=1e-9, atol=1e-12)
        assert torch.equal(first[key], second[key]), key
    assert float(first["unused"]) == 1.0  # no gradient anywhere: not even decayed


def test_one_process_asks_to_stop_and_all_do_with_one_checkpoint_and_go_on(
    tmp_path: Path, done: tuple[Path, list[dict[str, Any]]]
) -> None:
    folder, records = done
    for record in records:
        assert "stopped at step 3" in record["stopping"]["said"]
        assert record["stopping"]["checkpoints"] == ["step-00000003"]
    alone = Uneven()
    run(alone, tmp_path, PLANS["even"])
    for rank in range(2):
        for key, found in load_file(folder / f"resumed-{rank}.safetensors").items():
            torch.testing.assert_close(found, alone.state()[key], rtol=1e-9, atol=1e-12)


def test_a_process_whose_partner_is_gone_says_so_and_ends(tmp_path: Path) -> None:
    codes = [code for code, _, _ in launch("death", str(tmp_path))]
    assert codes == [0, 9]
    title, hint = json.loads((tmp_path / "death.json").read_text())
    assert "another process of this run has ended" in title
    assert "goes on" in hint


def workers(names: list[str]) -> list[str]:
    """The threads that work for a group of processes."""
    return [name for name in names if "gloo" in name or "tcpstore" in name]


def test_no_thread_outlives_the_meeting(tmp_path: Path) -> None:
    """One that frees a tensor while the interpreter ends takes the process with it (SIGABRT)."""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("this system does not list a process's threads")
    assert [code for code, _, _ in launch("leaving", str(tmp_path))] == [0, 0]
    for rank in range(2):
        during, after = json.loads((tmp_path / f"threads-{rank}.json").read_text())
        assert workers(during)
        assert not workers(after)


# --- the small parts ---------------------------------------------------------------------------------------


def test_work_is_shared_out_and_comes_back_in_order(done: tuple[Path, list[dict[str, Any]]]) -> None:
    for record in (record["sharing"] for record in done[1]):
        assert record["squares"] == [0, 1, 4, 9, 16, 25, 36]
        assert record["one"] == [25]
        assert record["workers"] == [0, 1, 0]
        assert record["largest"] == 10
        assert record["main's"] == 0


def test_what_goes_wrong_in_one_process_is_known_in_all(done: tuple[Path, list[dict[str, Any]]]) -> None:
    for record in (record["sharing"] for record in done[1]):
        title, hint = "only the main process looks", "and its failure is everybody's"
        assert record["failure"] == ["InputError", title, hint]
        assert record["first failure"] == title
        assert record["stop"][0] == "Interrupted"


def test_what_the_main_process_does_first_it_does_alone(done: tuple[Path, list[dict[str, Any]]]) -> None:
    assert [record["sharing"]["alone"] for record in done[1]] == [[1, True], [1, True]]


def test_a_single_process_never_touches_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with parallel.joined():
        assert not torch.distributed.is_initialized()
        assert (parallel.size(), parallel.rank(), parallel.is_main()) == (1, 0, True)
        assert parallel.share_out([3, 1], lambda own: own) == [3, 1]
        weight = torch.nn.Parameter(torch.ones(2))
        assert parallel.add_gradients([weight], 0.25) == 0.25
        assert weight.grad is None


@pytest.mark.parametrize("name", parallel.REFUSED)
def test_other_ways_to_shard_a_model_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(name, "true")
    with pytest.raises(InputError, match=name) as caught, parallel.joined():
        pass
    assert "--use_fsdp" in caught.value.hint


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="finds only 1 GPU"), parallel.joined():
        pass


# --- a model sharded over the processes ---------------------------------------------------------------------

CASES = [["listwise", "none"], ["listwise", "nf4"], ["language-model", "none"]]


def test_processes_that_hold_half_the_layers_each_compute_what_one_does_with_all(
    tmp_path: Path, tiny_home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores, loss and gradients (through recomputed layers), and answers of different lengths."""
    (tmp_path / "arguments.json").write_text(json.dumps({"model": str(tiny_model), "cases": CASES}))
    ended = launch("sharded", str(tmp_path), sharded=True)
    assert [code for code, _, _ in ended] == [0, 0], ended
    monkeypatch.setattr(loading, "pick_dtype", lambda *_: torch.float32)
    shutil.rmtree(tiny_home / "states")
    records = [json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in range(2)]
    for _, threads in records:
        assert not workers(threads)
    for number, case in enumerate(CASES):
        expected = asked(str(tiny_model), tmp_path, *case)
        for found, _ in records:
            held, total = sum(found[number]["held"]), sum(expected["held"])
            assert total / 2 <= held < 0.52 * total, case
            for key in ("answers", "total"):
                assert found[number][key] == expected[key], (case, key)
            for key in ("loss", "scores", "gradients"):
                torch.testing.assert_close(
                    flat(found[number][key]), flat(expected[key]), rtol=1e-4, atol=1e-5, msg=f"{case} {key}"
                )


def flat(value: Any) -> torch.Tensor:
    """A number, a table of numbers or named numbers as a tensor."""
    return torch.tensor([value[key] for key in sorted(value)] if isinstance(value, dict) else value)


def test_eight_bit_weights_are_not_sharded(monkeypatch: pytest.MonkeyPatch) -> None:
    check_sharding(ModelConfig(quantize="int8"))
    monkeypatch.setattr(parallel, "is_sharded", lambda: True)
    with pytest.raises(InputError, match="int8") as caught:
        check_sharding(ModelConfig(quantize="int8"))
    assert "nf4" in caught.value.hint


# --- the whole benchmark -----------------------------------------------------------------------------------


def benchmark(folder: Path, model: Path, count: int, sharded: bool = False) -> list[tuple[int, str, str]]:
    """`ilora-app bench` in so many processes; results go into `folder / runs`."""
    folder.mkdir()
    methods = "popularity,sasrec,zero-shot,lora,ilora"
    arguments = [
        "bench",
        "--dataset",
        "tiny",
        "--preset",
        "quick",
        "--methods",
        methods,
        "--quantize",
        "none",
    ]
    arguments += ["--model", str(model), "--samples", "32", "--layers", "2", "--json"]
    arguments += ["--sweep", "gate-scope=shared,per-layer"]
    (folder / "arguments.json").write_text(json.dumps([*arguments, "--out", str(folder / "runs")]))
    return launch("bench", str(folder), count=count, sharded=sharded)


@pytest.fixture(scope="module")
def alone(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of the benchmark in one process."""
    folder = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in tiny.install(folder / "home", folder / "mirror").items():
            patch.setenv(name, value)
        ((code, _, said),) = benchmark(folder / "1", tiny_model, 1)
    assert code == 0, said
    return folder / "1" / "runs"


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_home")
@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
def test_a_benchmark_of_two_processes_gives_the_results_of_one_and_each_once(
    tmp_path: Path, alone: Path, tiny_model: Path, sharded: bool
) -> None:
    two = benchmark(tmp_path / "2", tiny_model, 2, sharded)
    assert [code for code, _, _ in two] == [0, 0], two
    assert two[1][1] == ""  # one process speaks
    for rank in range(2):
        assert not workers(json.loads((tmp_path / "2" / f"threads-{rank}.json").read_text()))
    events = [json.loads(line) for line in two[0][1].splitlines()]
    finished = [event["method"] for event in events if event["event"] == "MethodFinished"]
    assert finished == ["popularity", "sasrec", "zero-shot", "lora", "ilora"] * 2
    shared = tmp_path / "2" / "runs"
    names = sorted(path.name for path in (alone / "results").glob("*.json"))
    assert len(names) == 6  # an iLoRA of each scope
    assert names == sorted(path.name for path in (shared / "results").glob("*.json"))
    for name in names:
        expected, found = (json.loads((runs / "results" / name).read_text()) for runs in (alone, shared))
        assert found["cases"] == expected["cases"]
        assert found["metrics"] == expected["metrics"]
        assert "shared by 2 processes" in found["notes"]
        assert any("sharded" in note for note in found["notes"]) == (sharded and found["model"] is not None)
    weights = sorted(path.relative_to(alone) for path in (alone / "models").rglob("*.safetensors"))
    assert weights
    assert weights == sorted(path.relative_to(shared) for path in (shared / "models").rglob("*.safetensors"))
    for path in weights:
        for key, tensor in load_file(alone / path).items():
            if key == "ranker.head.bias":  # the same for all of a row's scores: its gradient is but rounding
                continue
            torch.testing.assert_close(load_file(shared / path)[key], tensor, rtol=1e-3, atol=1e-5)
    assert not list((shared / "work" / "checkpoints").glob("*/*"))
