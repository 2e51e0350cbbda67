"""An adapter that was trained on one dataset goes on with another: `bench --start-from`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.benchmark.run import Plan, run_benchmark
from core.benchmark.starts import starting, starts_in
from core.config.settings import DataConfig, RunConfig
from core.errors import InputError
from core.ilora.carrying import READERS
from core.results.format import Result
from core.results.store import load_results
from core.runs.store import list_runs, run_folder
from ilora_app.cli import main
from tests import tiny, wide

METHODS = ("lora", "ilora")


@pytest.fixture(scope="module", autouse=True)
def both_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A product home that knows two datasets, of unlike catalogues."""
    place = tmp_path_factory.mktemp("both")
    with pytest.MonkeyPatch.context() as patch:
        for install in (tiny.install, wide.install):
            for name, value in install(place / "home", place / "mirror").items():
                patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def first(both_home: None, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with adapters of the one dataset."""
    out = tmp_path_factory.mktemp("first")
    bench(settings(tiny_model, "wide", 64), out)
    return out


def settings(model: Path, dataset: str, samples: int) -> RunConfig:
    config = tiny.config(model, samples=samples, encoder_prior=False)
    data = DataConfig(dataset=dataset, spread_positions=2, validation_positions=2)
    return replace(config, data=data)


def bench(
    config: RunConfig, out: Path, start: Path | None = None, seeds: tuple[int, ...] = (0,)
) -> list[Result]:
    runs = [(method, seed) for method in METHODS for seed in seeds]
    starts = starts_in(start, runs) if start else {}
    config = starting(config, starts) if starts else config
    return run_benchmark(Plan(config, METHODS, seeds, out, starts=starts))


def typed(model: Path, out: Path, *more: str) -> list[str]:
    """A benchmark of the one dataset as a person types it."""
    return [
        "bench", "--dataset", "tiny", "--model", str(model), "--quantize", "none", "--preset", "quick",
        "--layers", "2", "--out", str(out), *more,
    ]  # fmt: skip


def weights(out: Path, result: Result) -> dict[str, torch.Tensor]:
    folder = run_folder(out, *result.key)
    return {**load_file(folder / "adapter_model.safetensors"), **load_file(folder / "ilora.safetensors")}


def test_factors_and_head_go_on_and_what_reads_the_encoder_begins_anew(
    first: Path, tiny_model: Path, tmp_path: Path
) -> None:
    known = sorted(load_results(first)[0], key=lambda result: METHODS.index(result.method))
    fresh = bench(settings(tiny_model, "tiny", 0), tmp_path / "fresh")
    carried = bench(settings(tiny_model, "tiny", 0), tmp_path / "carried", first)
    for was, new, now in zip(known, fresh, carried, strict=True):
        old, unlearnt, found = (
            weights(place, result)
            for place, result in ((first, was), (tmp_path / "fresh", new), (tmp_path / "carried", now))
        )
        assert found.keys() == old.keys()
        anew = {name for name in found if any(part in f"{name}." for part in READERS)}
        assert anew and len(anew) < len(found)
        for name, tensor in found.items():
            assert torch.equal(tensor, unlearnt[name] if name in anew else old[name]), name
        assert not all(torch.equal(unlearnt[name], old[name]) for name in found.keys() - anew), (
            "nothing was learnt"
        )
        assert now.history[0]["step"] == 0, "validation may prefer what it started from"
        assert any(note.startswith("started from wide.paper.") for note in now.notes)
        assert now.samples_sha256 == new.samples_sha256 and now.key != new.key


def test_training_goes_on_from_there_and_the_same_command_finds_it(
    first: Path, tiny_model: Path, tmp_path: Path
) -> None:
    fresh = bench(settings(tiny_model, "tiny", 64), tmp_path / "out")
    carried = bench(settings(tiny_model, "tiny", 64), tmp_path / "out", first)
    for new, now in zip(fresh, carried, strict=True):
        one, other = weights(tmp_path / "out", new), weights(tmp_path / "out", now)
        assert not any(torch.equal(one[name], other[name]) for name in one if "lora_A" in name)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "results").iterdir()}
    assert bench(settings(tiny_model, "tiny", 64), tmp_path / "out", first) == carried
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "results").iterdir()} == before
    assert len(load_results(tmp_path / "out")[0]) == 4
    assert all(
        info.config.training.start in ("", carried[0].config["training"]["start"])
        for info in list_runs(tmp_path / "out")[0]
    )


def test_where_there_is_not_one_run_to_start_from_it_says_so(
    first: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*more: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(typed(tiny_model, tmp_path / "out", *more))
        assert ended.value.code == 2
        assert not (tmp_path / "out").exists()
        return " ".join(capsys.readouterr().err.split())

    asked = ("--methods", "lora,ilora", "--start-from", str(first))
    assert "is no folder" in refused(*asked[:-1], str(tmp_path / "none"))
    assert "has no trained run of lora, seed 1" in refused(*asked, "--seeds", "2")
    assert "none of these methods trains an adapter" in refused(
        "--methods", "sasrec", "--start-from", str(first)
    )
    assert "exclude each other" in refused(*asked, "--tune", "3")
    assert "training starts from the encoder's own ranking" in refused(*asked, "--encoder-prior")
    two = tmp_path / "two"
    (own,) = (info.path for info in list_runs(first)[0] if info.method == "lora")
    for name in ("one", "other"):
        shutil.copytree(own, two / "models" / name)
    assert "has 2 trained runs of lora, seed 0" in refused(*asked[:-1], str(two))


def test_an_adapter_of_another_rank_is_refused(
    first: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rank = settings(tiny_model, "wide", 64).adapter.rank
    more = ("--rank", str(2 * rank), "--methods", "lora", "--samples", "16", "--start-from", str(first))
    with pytest.raises(SystemExit) as ended:
        main(typed(tiny_model, tmp_path / "out", *more))
    assert ended.value.code == 2
    assert f"says r = {rank}" in " ".join(capsys.readouterr().err.split())


def test_such_settings_without_the_adapters_are_refused(
    first: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """As from the run's own config.toml: trained from nothing it would not be what it says."""
    config = starting(settings(tiny_model, "tiny", 64), starts_in(first, [("lora", 0)]))
    with pytest.raises(InputError, match=r"these settings start from trained adapters \(wide"):
        run_benchmark(Plan(config, ("lora",), (0,), tmp_path))
