"""Terminals of any encoding, or none at all, and one hostile dataset through every command's output."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from core import safe_text
from ilora_app.cli import main
from tests.data.own.acts import TIMED, listing

ENCODINGS = (
    "ascii", "latin-1", "cp1252", "cp437", "cp850", "koi8-r", "iso8859-15", "cp1251", "shift_jis", "gb18030",
    "big5", "utf-8", "utf-16",
)  # fmt: skip
STRANGE = {
    1: "映画 \U0001f600 é", 2: "[red]z[/]", 3: "[/]", 4: "<script>x()</script>", 5: "=1+1", 6: "![](//h/i)",
    7: "\u202eturned", 8: "a\u200bb\u2066c", 9: "`rm -rf`", 10: "@SUM(A1)", 11: "|a|b|", 12: "<img src=x>",
    13: "\\[bold]", 14: "e" + "\u0301" * 40, 15: "{history} {0} %s", 16: "[link=http://h]x[/link]",
    17: "]]>&lt;", 18: "$(x)", 19: "\ufeffmark", 20: "-1+2", 21: "https://h/<b>", 22: "'; --", 23: "x" * 300,
    24: "[@click=app.quit]x[/]", 25: "{{ 1 }}", 26: "&amp;quot;", 27: "\u2028", 28: "\U000e0041tag",
}  # fmt: skip
"""Titles that would act on a terminal, a console with markup, a page, a sheet or a template."""


def items() -> str:
    quoted = {place: '"' + title.replace('"', '""') + '"' for place, title in STRANGE.items() if place != 27}
    return listing("item_id,title", "{id},{title}", quoted)


def acting(text: str) -> list[str]:
    """The characters of a text that would act on a terminal."""
    return [letter for letter in text if letter != "\n" and safe_text.plain(letter) != letter]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_a_terminal_cannot_show_is_replaced(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    (tmp_path / "i.csv").write_text(TIMED.replace("user_id", "ユーザー"))
    (tmp_path / "t.csv").write_text(items())
    files = ["--interactions", str(tmp_path / "i.csv"), "--items", str(tmp_path / "t.csv")]
    for arguments, code in (
        (["data", "add", "own", *files, "--user-column", "ユーザー"], 0),
        (["data", "own"], 0),
        (["data", "own", "--json"], 0),
        (["data", "映画"], 2),
        (["data", "remove", "own"], 0),
    ):
        sinks = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", sinks[0])
        monkeypatch.setattr(sys, "stderr", sinks[1])
        with pytest.raises(SystemExit) as end:
            main(arguments)
        shown = "utf-8" if encoding == "ascii" else encoding  # a terminal said to be ASCII alone seldom is
        for sink in sinks:
            sink.flush()
        said = "".join(sink.buffer.getvalue().decode(shown) for sink in sinks)  # type: ignore[attr-defined]
        assert int(end.value.code or 0) == code, said
        assert "Traceback" not in said and not acting(said)


@pytest.mark.parametrize(
    "more",
    [
        [], ["--out", "elsewhere"], ["--dataset", "movielens"], ["--run", "demo"], ["--run", "nothing"],
        ["--theme", "light"], ["--record", "a.cast"], ["--connect", "http://127.0.0.1:9"],
        ["--connect", "http://evil.example"], ["--precision", "float32"], ["--dataset", "nope"],
    ],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("term", ["xterm-256color", "dumb", ""])
def test_without_a_terminal_nothing_is_drawn(
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    term: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("TEXTUAL_DRIVER", raising=False)
    with pytest.raises(SystemExit) as end:
        main(["tui", *more])
    said = capsys.readouterr()
    assert end.value.code == 2 and said.out == ""
    assert said.err.count("error:") == said.err.count("hint:") == 1 and not acting(said.err)
    assert {path.name for path in tmp_path.iterdir()} <= {"home"}


@pytest.mark.slow
def test_one_hostile_dataset_acts_in_no_output(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("i.csv").write_text(TIMED)
    Path("t.csv").write_text(items())
    small = ["--dataset", "own", "--preset", "quick", "--out", "runs"]
    for arguments in (
        ["data", "add", "own", "--interactions", "i.csv", "--items", "t.csv"],
        ["data"], ["data", "own"], ["data", "show", "own", "--samples", "test", "--out", "s.jsonl"],
        ["bench", "--methods", "popularity,sasrec", "--candidates", "catalogue", "--retrieve", "60", *small],
        ["bench", "--methods", "popularity,sasrec", *small],
        ["train", "--method", "sasrec", *small],
        ["runs", "--out", "runs"],
        ["results", "--out", "runs"], ["results", "--out", "runs", "--report"],
        ["results", "--out", "runs", "--beyond"], ["results", "--out", "runs", "--by", "item"],
        ["results", "export", "--out", "runs", "--format", "csv"],
        ["recommend", "--runs", "runs", "--user", "7", "--top", "60", "--from", "catalogue"],
        ["recommend", "--runs", "runs", "--user", "7", "--json"],
        ["audit", "own"], ["power", "--out", "runs", "--compare", "sasrec", "popularity"],
    ):  # fmt: skip
        with pytest.raises(SystemExit) as end:
            main(arguments)
        said = capsys.readouterr()
        refused = (2,) if arguments[0] == "power" else ()  # there are too few test users
        assert end.value.code in (0, 1, None, *refused), (arguments, said.err[-500:])
        assert not acting(said.out + said.err), (arguments, acting(said.out + said.err)[:5])
        assert "Traceback" not in said.err
        if "--json" in arguments:
            json.loads(said.out)
    page = Path("runs/report.html").read_text(encoding="utf-8")
    assert "<script>x" not in page and "<img src=x" not in page and not acting(page)
    for sheet in Path("runs").rglob("*.csv"):
        cells = [cell for line in sheet.read_text(encoding="utf-8").splitlines() for cell in line.split(",")]
        assert not [cell for cell in cells if cell.strip('"').startswith(("=", "@"))], sheet
