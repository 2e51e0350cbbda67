"""`ilora-app power` reads results on disk, and says in one line what it cannot tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.results.store import save_result
from ilora_app.cli import main
from tests.made_up import five_methods


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["power", *arguments])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.fixture(params=[1, 3], ids=["one seed", "three seeds"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for made in five_methods(seeds=request.param):
        save_result(made, tmp_path)
    return tmp_path


def test_users_are_told_for_each_number_of_seeds_and_one_seed_says_so(
    out: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    seeds = request.node.callspec.params["out"]
    code, text, _ = run(capsys, "--lift", "5%", "--out", str(out))
    assert code == 0
    assert "iLoRA over LoRA: HR@1 on spread of movielens" in text and "Users for +5.0 %" in text
    assert ("One seed was trained" in " ".join(text.split())) == (seeds == 1)
    code, text, _ = run(capsys, "--lift", "5", "--out", str(out), "--json")
    record = json.loads(text)
    first = record["pairs"][0]
    assert record["lift"] == 0.05 and first["seeds"] == seeds and first["users"] == 28
    assert (first["variance"]["seed"] is None) == (seeds == 1)
    assert list(first["users_needed"]) == (["1"] if seeds == 1 else ["1", "2", "3", "5", "10"])


def test_any_two_methods_and_metrics_can_be_asked_about(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, _ = run(capsys, "--compare", "sasrec", "popularity", "--metric", "MRR", "--out", str(out))
    assert code == 0 and "SASRec over Popularity: MRR on spread" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--lift", "much"), "--lift is 'much'"),
        (("--lift", "-5%"), "--lift is '-5%'"),
        (("--lift", "nan"), "--lift is 'nan'"),
        (("--compare", "ilora", "ilora"), "cannot be compared with itself"),
        (("--compare", "ilora", "nobody"), "no nobody in the table"),
        (("--metric", "HR@7"), "HR@7"),
        (("--dataset", "steam"), "no results for steam"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], said: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, err = run(capsys, *arguments, "--out", str(out))
    assert code == 2 and not text
    assert said in err and "hint:" in err
