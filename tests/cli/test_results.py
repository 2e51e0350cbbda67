"""`ilora-app results` rebuilds tables from disk: quickly, honestly, and without running anything."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time

import pytest

from core.data.types import Samples
from core.results.case_facts import save_facts
from core.results.store import save_result
from ilora_app.cli import main
from tests.made_up import case_facts, five_methods, result


@pytest.fixture
def runs(tmp_path):
    for made in five_methods():
        save_result(made, tmp_path / "runs")
    return tmp_path / "runs"


def called(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(["results", *map(str, arguments)])
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


def test_the_table_comes_from_disk(runs, capsys):
    code, out, err = called(capsys, "--out", runs)
    assert (code, err) == (0, "")
    for promised in ("MovieLens", "SASRec", "iLoRA over LoRA", "280 cases of 28 users", "reported"):
        assert promised in out


def test_runs_in_the_current_folder_is_the_default(runs, capsys, monkeypatch):
    monkeypatch.chdir(runs.parent)
    assert called(capsys)[0] == 0


def test_json_is_json_and_nothing_else(runs, capsys):
    code, out, _ = called(capsys, "--out", runs, "--json")
    record = json.loads(out)
    assert code == 0
    assert record["problems"] == []
    (table,) = record["tables"]
    assert {row["method"] for row in table["rows"]} == {"popularity", "sasrec", "zero-shot", "lora", "ilora"}
    assert table["rows"][0]["metrics"]["spread"]["HR@1"]["n"] == 280


def test_csv_is_csv_and_nothing_else(runs, capsys):
    code, out, _ = called(capsys, "--out", runs, "--csv")
    lines = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert len(lines) == 10
    assert {line["set"] for line in lines} == {"spread", "last"}


def test_json_and_csv_exclude_each_other(runs, capsys):
    code, out, err = called(capsys, "--out", runs, "--json", "--csv")
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and "hint: " in err


def test_a_dataset_can_be_picked(runs, capsys):
    save_result(result("lora", dataset="lastfm"), runs)
    assert len(json.loads(called(capsys, "--out", runs, "--json")[1])["tables"]) == 2
    (table,) = json.loads(called(capsys, "--out", runs, "--json", "--dataset", "lastfm")[1])["tables"]
    assert table["dataset"] == "lastfm"


def test_a_dataset_without_a_card_has_no_reported_column(tmp_path, capsys):
    save_result(result("lora", dataset="my-own"), tmp_path)
    code, out, _ = called(capsys, "--out", tmp_path)
    assert code == 0
    assert "my-own" in out and "reported" not in out


def test_other_samples_are_another_table(runs, capsys):
    save_result(result("lora", samples_sha256="77" * 32, config={"other": 1}), runs)
    _, out, _ = called(capsys, "--out", runs, "--json")
    assert sorted(len(table["rows"]) for table in json.loads(out)["tables"]) == [1, 5]


@pytest.mark.parametrize("dataset", [[], ["--dataset", "movielens"]])
def test_no_results_is_one_line_and_a_command_that_makes_some(tmp_path, capsys, dataset):
    code, out, err = called(capsys, "--out", tmp_path / "empty", *dataset)
    assert (code, out) == (2, "")
    assert err.splitlines()[0].startswith("error: no results")
    assert "ilora-app bench --dataset movielens" in err.splitlines()[1]
    assert not (tmp_path / "empty").exists()


def test_none_for_this_dataset_names_those_there_are(runs, capsys):
    code, _, err = called(capsys, "--out", runs, "--dataset", "steam")
    assert code == 2
    assert "steam" in err and "movielens" in err


def test_a_file_that_cannot_be_used_is_named_and_the_rest_is_shown(runs, capsys):
    (old,) = (runs / "results").glob("*.lora.*")
    old.write_text(old.read_text().replace('"format": 1', '"format": 0', 1))
    code, out, err = called(capsys, "--out", runs)
    assert code == 0
    assert "SASRec" in out
    assert err.count("\n") == 1
    assert old.name in err and "older version" in err
    assert old.name in json.loads(called(capsys, "--out", runs, "--json")[1])["problems"][0]


def test_only_unusable_files_is_an_error_that_says_why(runs, capsys):
    for path in (runs / "results").iterdir():
        path.write_text(path.read_text()[:400])
    code, out, err = called(capsys, "--out", runs)
    assert (code, out) == (2, "")
    assert err.count("left out: ") == 5
    assert "error: no usable results" in err


def test_an_output_folder_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, _, err = called(capsys, "--out", tmp_path / "file")
    assert code == 2
    assert "not a folder" in err


def test_it_is_quick_and_brings_in_no_engine(runs):
    script = (
        "import sys\nfrom ilora_app.cli import main\n"
        f"try: main(['results', '--out', {str(runs)!r}])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'pandas', 'textual'} & set(sys.modules)), file=sys.stderr)"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
    )
    assert time.perf_counter() - start < 5  # under two seconds on an idle machine
    assert done.stderr.strip() == "[]"
    assert "iLoRA over LoRA" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_two_methods_are_compared_and_so_are_all(runs, capsys):
    code, out, err = called(capsys, "--out", runs, "--compare", "ilora", "lora", "--set", "spread")
    assert (code, err) == (0, "")
    assert "280 cases, 28 users" in out and "10 pairs of the table" in " ".join(out.split())
    code, out, _ = called(capsys, "--out", runs, "--pairs", "--metric", "MRR", "--set", "spread")
    assert code == 0 and out.count("SASRec") == 4


def test_methods_and_sets_can_be_picked(runs, capsys):
    _, out, _ = called(capsys, "--out", runs, "--json", "--method", "lora,ilora", "--set", "last")
    (table,) = json.loads(out)["tables"]
    assert {row["method"] for row in table["rows"]} == {"lora", "ilora"}
    assert set(table["sets"]) == {"last"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--compare", "ilora", "nobody"],
        ["--compare", "ilora", "ilora"],
        ["--method", "nobody"],
        ["--split", "nowhere"],
        ["--set", "none"],
        ["--pairs", "--metric", "HR@7"],
        ["--by", "weather"],
        ["--by", "popularity"],  # this folder holds no facts about its cases
    ],
)
def test_what_is_not_there_is_one_line_and_a_hint(runs, capsys, arguments):
    code, out, err = called(capsys, "--out", runs, *arguments)
    assert (code, out) == (2, "")
    error, hint = err.splitlines()
    assert error.startswith("error: ") and hint.startswith("hint: ")


def test_cases_are_cut_by_what_the_folder_knows_of_them(runs, capsys):
    made = five_methods()[0]
    places = [(case.user, case.position) for case in made.cases]
    save_facts(case_facts(places), Samples("movielens", "paper", 0, (), (), {}, made.samples_sha256), runs)
    code, out, err = called(capsys, "--out", runs, "--by", "popularity", "--set", "spread")
    assert (code, err) == (0, "")
    assert "rare targets" in out and "iLoRA" in out


def test_folders_are_merged_and_seen_as_one(tmp_path, capsys):
    for method in ("lora", "ilora"):
        save_result(result(method), tmp_path / method)
    both = ["--out", tmp_path / "lora", "--out", tmp_path / "ilora"]
    assert len(json.loads(called(capsys, *both, "--json")[1])["tables"][0]["rows"]) == 2
    code, out, _ = called(capsys, "merge", tmp_path / "lora", tmp_path / "ilora", "--out", tmp_path / "all")
    assert code == 0 and "2 results" in out
    assert len(json.loads(called(capsys, "--out", tmp_path / "all", "--json")[1])["tables"][0]["rows"]) == 2
