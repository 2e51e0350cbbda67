"""`ilora-app recommend` answers from a run on disk: the benchmark's candidates, or the catalogue's best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ilora_app.cli import main
from tests import tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A SASRec run of the made-up dataset, and the environment that finds its data."""
    path, environment = tiny.trained_run(tmp_path_factory.mktemp("recommend"))
    return path.parent.parent, environment


@pytest.fixture
def runs(trained: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in trained[1].items():
        monkeypatch.setenv(name, value)
    return trained[0]


def called(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["recommend", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_as_many_of_the_catalogue_as_asked_with_both_scores(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--out", runs, "--user", "3", "--from", "catalogue", "--candidates", "7", "--top", "7")
    code, out, _ = called(capsys, *asked, "--json")
    assert code == 0
    record = json.loads(out)
    assert record["candidates"] == len(record["ranking"]) == 7
    seen = {item["id"] for item in record["history"]}
    for row in record["ranking"]:
        assert row["id"] not in seen
        assert row["encoder_score"] == pytest.approx(row["score"], abs=1e-4)  # SASRec retrieves and ranks
    code, out, _ = called(capsys, *asked)
    assert code == 0
    assert "SASRec's best 7 candidates" in out
    assert "encoder" in out


def test_a_history_of_ones_own_is_ranked_against_the_catalogue(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = called(capsys, "--out", runs, "--history", "1,2,3", "--json")
    record = json.loads(out)
    assert (code, record["from"], record["user"]) == (0, "catalogue", None)
    assert len(record["history"]) == 3
    assert called(capsys, "--out", runs, "--history", "1,2,3")[0] == 0


def test_the_benchmarks_candidates_are_its_twenty(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "--out", runs, "--user", "3", "--top", "3", "--json")
    assert code == 0
    assert json.loads(out)["candidates"] == 20
    assert len(json.loads(out)["ranking"]) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        ("--user", "nobody"),
        ("--user", "3", "--from", "elsewhere"),
        ("--user", "3", "--from", "catalogue", "--candidates", "1"),
        ("--user", "3", "--position", "999"),
        ("--user", "3", "--top", "0"),
        (),
        ("--history", "one,two"),
        ("--history", "99999"),
        ("--user", "3", "--push", "a"),
        ("--user", "3", "--lock", "1"),  # SASRec has no gate
    ],
)
def test_what_cannot_be_answered_is_one_line_and_a_hint(
    runs: Path, capsys: pytest.CaptureFixture[str], wrong: tuple[str, ...]
) -> None:
    code, out, err = called(capsys, "--out", runs, *wrong)
    assert code == 2
    assert not out
    assert err.startswith("error: ")
    assert "hint: " in err
    assert "Traceback" not in err
