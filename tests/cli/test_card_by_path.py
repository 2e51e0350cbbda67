"""A dataset's card may lie anywhere: given by its path it trains, saves, reports and is opened again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.results.store import load_results
from ilora_app.cli import main


@pytest.fixture
def card(tiny_home: Path, tmp_path: Path) -> Path:
    """The card of `tiny`, where nobody finds it by name."""
    (tmp_path / "elsewhere").mkdir()
    return (tiny_home / "cards" / "tiny.toml").rename(tmp_path / "elsewhere" / "tiny.toml")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    return said.out


def test_a_card_given_by_its_path_trains_and_saves_and_opens_from_anywhere(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    monkeypatch.chdir(card.parent)
    settings = ("--dataset", "tiny.toml", "--preset", "quick", "--out", out)
    said = run(capsys, "train", "--method", "sasrec", *settings)
    assert "Tiny" in said
    (folder,) = (out / "models").iterdir()
    assert f"run: {folder}" in said
    assert "on Tiny" in (folder / "README.md").read_text(encoding="utf-8")
    assert "Tiny" in run(capsys, "bench", "--methods", "popularity,sasrec", *settings)
    monkeypatch.chdir(tmp_path)
    record = json.loads(run(capsys, "evaluate", folder, "--json"))
    assert record["agrees"] and record["dataset"] == "tiny"
    run(capsys, "recommend", "--run", folder, "--user", "3")


def test_by_path_or_by_name_it_is_the_same_configuration(
    card: Path, tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--methods", "popularity", "--preset", "quick", "--out", tmp_path / "runs")
    run(capsys, "bench", "--dataset", card, *asked)
    kept = tiny_home / "cards" / "tiny.toml"
    assert kept.read_text(encoding="utf-8") == card.read_text(encoding="utf-8")
    run(capsys, "bench", "--dataset", "tiny", *asked)
    (result,) = load_results(tmp_path / "runs")[0]
    assert result.config["data"]["dataset"] == "tiny"


def test_a_card_never_takes_the_place_of_another_of_its_name(
    card: Path, tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tiny_home / "cards" / "tiny.toml"
    kept.write_text(card.read_text(encoding="utf-8").replace('"Tiny"', '"Mine"'), encoding="utf-8")
    mine = kept.read_text(encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--dataset", str(card), "--methods", "popularity", "--out", str(tmp_path / "runs")])
    assert ended.value.code == 2
    assert "there is another dataset 'tiny'" in capsys.readouterr().err
    assert kept.read_text(encoding="utf-8") == mine
