"""A benchmark with cold items, short histories or one moment for all, from the command to the table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from core.benchmark.evaluate import evaluate_run
from core.benchmark.run import Plan, method_config, run_benchmark
from core.config.run_file import read_run_file, resolve
from core.config.settings import DataConfig, RunConfig
from core.data.loading import load_task_data
from core.results.breakdown import groups
from core.results.case_facts import load_facts
from core.results.format import Result, disagreement
from core.results.rankings import load_rankings
from core.results.store import load_result, result_path
from core.results.tables import group_tables
from core.results.trec import exported
from core.runs.store import read_run, run_folder
from ilora_app.cli import main
from ilora_app.render import columns
from tests import tiny, wide


@pytest.fixture(autouse=True)
def wide_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A product home that knows the made-up dataset `wide`."""
    for name, value in wide.install(tmp_path / "home", tmp_path / "mirror").items():
        monkeypatch.setenv(name, value)
    return tmp_path / "home"


def settings(model: Path | str = "tiny-llama", **data: Any) -> RunConfig:
    config = tiny.config(model, samples=8, candidates=8)
    asked = DataConfig(dataset="wide", spread_positions=2, validation_positions=2, **data)
    return dataclasses.replace(config, data=asked)


def run(*arguments: str) -> Any:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as done:
        main([*arguments])
    return done.value.code


def bench(out: Path, config: RunConfig, *methods: str) -> list[Result]:
    return run_benchmark(Plan(config, methods, (0,), out, "quick", "ilora-app bench"))


@pytest.mark.parametrize("candidates", ["20", "catalogue"])
def test_cold_cases_are_asked_twice_and_every_file_says_both_ranks(
    candidates: str, tmp_path: Path, tiny_model: Path
) -> None:
    config = settings(tiny_model, cold_items=0.4, min_history=1, candidates=candidates, retrieve=10)
    out = tmp_path / "out"
    methods = ("popularity", "sasrec") if candidates == "20" else ("popularity", "lora")
    results = bench(out, config, *methods)
    (table,) = group_tables(results)
    assert list(table.sets) == ["spread", "last", "cold", "cold-all", "short"]
    dataset, samples = load_task_data(config.data)
    for result in results:
        assert disagreement(result) is None
        path = result_path(out, *result.key)
        found = load_rankings(load_result(path), path)
        apart, among_all = found.ranks("cold"), found.ranks()
        assert apart.keys() == {case.place for case in samples.test["cold"]}
        assert among_all.keys() == samples.asked.keys()
        rows = found.rows("cold")
        ids = {dataset.catalogue.ids[item] for item in samples.cold}
        assert all(found.item[row] in ids for of_case in rows.values() for row in of_case)
        parts = {part.judged.rpartition(".")[2]: part for part in exported(result, found)}
        assert len({asked for asked, *_ in parts["cold"].qrels}) == len(apart)
        if result.method == "popularity":  # all cold items are alike to it, and ties count against a method
            assert result.metrics["cold"]["HR@1"].value == 0
        stated = result.withheld
        assert stated is not None and stated.cold_items == stated.withheld_items == 48
        assert any("items that training never meets" in note for note in result.notes)
    lines = dict(columns.about_split(table))
    assert "48 items were drawn to be cold" in lines["Cold"] and "in no training" in lines["Unknown items"]


def test_a_split_by_time_states_its_moment_and_that_nothing_later_was_trained_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    results = bench(out, settings(split="temporal"), "popularity", "sasrec")
    (table,) = group_tables(results)
    _, samples = load_task_data(settings(split="temporal").data)
    for result in results:
        assert result.split == "temporal" and result.lateness is not None and result.lateness.later == 0
        again = Result.from_json(result.to_json())
        assert again.withheld == result.withheld is not None
        assert result.withheld.test_from == "1970-01-02T04:26:14+00:00" or result.withheld.test_from
        assert result.withheld.new_users > 0
    lines = dict(columns.about_split(table))
    assert lines["Time"].startswith("0 of") and lines["Moment"].startswith("tested from 1970-01-02T")
    facts = load_facts(out, "wide", "temporal", samples.sha256)
    assert facts is not None
    of_spread = groups(facts, table.rows[0].places["spread"])
    sizes = {(group.dimension, group.name): len(group) for group in of_spread}
    new = {case.user for case in samples.train}
    assert sizes["user", "new users"] == sum(case.user not in new for case in samples.test["spread"])
    assert sizes["user", "new users"] + sizes.get(("user", "known users"), 0) == len(samples.test["spread"])


@pytest.mark.parametrize("data", [{"cold_items": 0.4}, {"split": "temporal", "test_from": "0.8"}])
def test_a_saved_run_opens_with_the_same_cases_and_its_run_file_repeats_it(
    data: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (result,) = bench(out, settings(**data), "sasrec")
    folder = run_folder(out, *result.key)
    found = evaluate_run(folder)
    assert found.agrees and found.moved == 0
    info, file = read_run(folder), read_run_file(folder / "config.toml")
    config = resolve("quick", file.settings)
    assert config.data == info.config.data == settings(**data).data
    assert {**result.config["data"], **data} == result.config["data"]


def test_settings_at_their_defaults_are_in_no_checksum() -> None:
    plain = method_config(settings(), "sasrec")["data"]
    assert not plain.keys() & {"test_from", "cold_items", "min_history"}
    assert method_config(settings(cold_items=0.4), "sasrec")["data"]["cold_items"] == 0.4


def test_what_training_knows_of_users_is_asked_of_new_files_only(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (result,) = bench(out, settings(split="temporal"), "popularity")
    (path,) = (out / "cases").glob("wide.temporal.*.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    record["rows"] = [row[:-1] for row in record["rows"]]
    path.write_text(json.dumps(record), encoding="utf-8")
    (table,) = group_tables([result])
    facts = load_facts(out, "wide", "temporal", result.samples_sha256)
    assert facts is not None
    assert not [group for group in groups(facts, table.rows[0].places["last"]) if group.dimension == "user"]
    bench(out, settings(split="temporal"), "popularity")  # the result is reused, the file made anew
    facts = load_facts(out, "wide", "temporal", result.samples_sha256)
    assert facts is not None and all(fact.known_user is not None for fact in facts.values())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--split", "temporal", "--test-from", "2030-01-01"],
            "there must be interactions before and after it",
        ),
        (["--split", "temporal", "--test-from", "soon"], "is neither a share nor a date"),
        (["--test-from", "0.8"], "belongs to a split by time"),
        (["--cold-items", "0.05"], "a case among cold items needs 20"),
        (["--cold-items", "1"], "leaves no training case"),
        (["--cold-items", "2"], "--cold-items is 2"),
        (["--min-history", "3"], "asks about histories of 3 items anyway"),
    ],
)
def test_what_cannot_be_asked_for_ends_in_one_line_with_a_hint(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    asked = ["bench", "--dataset", "wide", "--methods", "popularity", "--preset", "quick", "--out", out]
    assert run(*asked, *options) == 2
    error = capsys.readouterr().err
    assert says in " ".join(error.split()) and "hint:" in error and "Traceback" not in error


def test_the_table_and_the_groups_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    asked = ["bench", "--dataset", "wide", "--methods", "popularity", "--preset", "quick", "--out", out]
    assert run(*asked, "--split", "temporal", "--cold-items", "0.4", "--min-history", "1") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "Test set cold ",
        "Test set cold-all",
        "Test set short",
        "Moment: tested from",
        "Cold: 48 items",
    ):
        assert words in shown
    assert run("results", "--out", out, "--by", "user", "--set", "last") == 0
    assert "new users" in capsys.readouterr().out
    assert run("audit", "wide", "--split", "temporal") in (0, 1)
    assert "0 % of training interactions are later" in " ".join(capsys.readouterr().out.split())
