"""Foreign text reaches a terminal, a page, a text or a sheet as text: nothing in it acts there."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from huggingface_hub import constants

from core import safe_text
from core.errors import ResultError
from core.results.merging import merge
from core.results.store import load_results, save_result
from ilora_app.cli import main
from ilora_app.render.console import SafeConsole
from ilora_app.render.report import write_report
from tests import made_up

HOSTILE = "\x1b]0;owned\x07[red]z[/] <script>x</script> ![](//h/i) `c` =1+1 \u202e\x9b31m\ud800"


def acting(text: str) -> list[str]:
    """The characters of a text that would act on a terminal."""
    return [character for character in text if safe_text.plain(character) != character]


def test_a_terminal_shows_foreign_text_and_does_nothing_else() -> None:
    sink = io.StringIO()
    console = SafeConsole(file=sink, width=200, force_terminal=False)
    console.print(HOSTILE)
    console.print("[/]")
    assert not acting(sink.getvalue().replace("\n", ""))
    assert "[red]z[/]" in sink.getvalue() and "[/]" in sink.getvalue()


def test_json_stays_the_same_values_in_any_encoding() -> None:
    value = {"title": "映画 \x9b31m \x7f é \U0001f600"}
    text = json.dumps(value, ensure_ascii=False)
    for encoding in ("utf-8", "latin-1", None):
        shown = safe_text.json_text(text, encoding)
        assert json.loads(shown) == value and not acting(shown)
        shown.encode(encoding or "ascii")


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1+2", "@SUM(A1)", "\t=1"])
def test_a_sheet_computes_no_cell(cell: str) -> None:
    assert str(safe_text.csv_cell(cell)).startswith("'")
    assert safe_text.csv_cell(-1.5) == -1.5


DRAWN = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">'
    '<rect x="1" y="1" width="3" height="3"{}>{}</rect></svg>'
)


@pytest.mark.parametrize(
    ("attribute", "inner"),
    [
        (' onload="x()"', ""),
        ("", "<script>x()</script>"),
        (' style="background:url(//h/x)"', ""),
        ("", '<a href="javascript:x()"><text>t</text></a>'),
        ("", '<image href="//h/i"/>'),
        ("", "<foreignObject><iframe src='//h'/></foreignObject>"),
        ("", "<style>@import '//h'</style>"),
        ("", "<animate attributeName='href' to='x'/>"),
    ],
)
def test_a_plot_keeps_its_shapes_and_loses_the_rest(attribute: str, inner: str) -> None:
    kept = safe_text.svg(DRAWN.format(attribute, inner))
    assert "<rect" in kept
    for word in ("onload", "script", "url", "href", "iframe", "import", "image", "animate", "//h"):
        assert word not in kept
    ET.fromstring(kept)


@pytest.mark.parametrize(
    "text", ["", "<html/>", "<!DOCTYPE x [<!ENTITY a 'b'>]><svg/>", "<svg", "<" * 100_000]
)
def test_what_is_no_plot_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        safe_text.svg(text)


def test_a_report_of_a_strangers_results_runs_nothing(tmp_path: Path) -> None:
    from core.results.tables import group_tables

    notes = (HOSTILE.replace("\ud800", ""),)
    stranger = made_up.result("lora", model="=cmd|' /C calc'!A0<img src=x>[a](//h)", notes=notes)
    save_result(stranger, tmp_path)
    results, problems = load_results(tmp_path)
    page, text, sheet = "", "", ""
    for path in write_report(
        group_tables(results), [tmp_path], {}, [*problems, HOSTILE], tmp_path / "report"
    ):
        content = path.read_text(encoding="utf-8")
        if path.suffix == ".html":
            page = content
        elif path.suffix == ".md":
            text = content
        elif path.suffix == ".csv":
            sheet = content
    assert "<script" not in page and "<img" not in page and not acting(page.replace("\n", ""))
    assert "<script" not in text and "<img" not in text and "](//h)" not in text
    assert not acting(text.replace("\n", ""))
    for row in csv.reader(io.StringIO(sheet)):
        assert not any(cell.startswith(("=", "+", "@")) for cell in row)


@pytest.mark.parametrize("name", ["../../z", "/tmp/z", "..", "a/b", "\x1b[31m", "[red]z"])
def test_a_merge_writes_nothing_outside(tmp_path: Path, name: str) -> None:
    path = save_result(made_up.result("lora"), tmp_path / "from")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "dataset": name}))
    with pytest.raises(ResultError):
        merge([tmp_path / "from"], tmp_path / "to" / "deep" / "out")
    assert not list(tmp_path.rglob("z*"))


@pytest.mark.parametrize(
    "change",
    [
        {"history": [{"step": "x", "HR@1": 0.5}]}, {"history": [{"step": 10**400}]}, {"history": [[]]},
        {"timings": {"train_seconds": 10**300}}, {"notes": ["\ud800"]}, {"created": "never"},
        {"peak_memory_bytes": 10**60}, {"split": "../x"}, {"method": "\x1b[1m"}, {"samples_sha256": "x"},
        {"versions": {"\ud800": "1"}}, {"model": "\udfff"}, {"seed": 10**30},
    ],
)  # fmt: skip
def test_a_result_is_validated_whole_when_it_is_read(tmp_path: Path, change: dict[str, object]) -> None:
    path = save_result(made_up.result("lora"), tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    results, problems = load_results(tmp_path)
    assert not results and len(problems) == 1 and not acting(problems[0])


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "ilora_app", *arguments]
    return subprocess.run(
        command, capture_output=True, env={**os.environ, **environment}, timeout=60, check=False
    )


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii", "utf-8"])
def test_titles_that_a_terminal_cannot_show_are_replaced(tiny_home: Path, encoding: str) -> None:
    card = tiny_home / "cards" / "tiny.toml"
    card.write_text(card.read_text().replace('title = "Tiny"', 'title = "映画 \\u001b[31m \\u009b"', 1))
    for arguments in (["data"], ["data", "tiny"], ["data", "--json"], ["data", "nope映"]):
        done = run(*arguments, PYTHONIOENCODING=encoding)
        assert done.returncode == (2 if "nope映" in arguments else 0)
        assert b"Traceback" not in done.stderr and b"\x1b" not in done.stdout + done.stderr


def test_folders_with_odd_names_are_named_as_they_are(tiny_home: Path, tmp_path: Path) -> None:
    for name in ("[red]z", "[bold", "\x1b[31mred"):
        (tmp_path / "models" / name).mkdir(parents=True)
    done = run("runs", "--out", str(tmp_path))
    assert done.returncode == 0
    assert b"[bold" in done.stderr and b"[red]z" in done.stderr and b"\x1b" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["data"], ["data", "--json"], ["--help"], ["models"], ["runs"]])
def test_a_full_output_is_one_line(own_home: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "ilora_app", *arguments]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 74
    assert "Traceback" not in done.stderr and done.stderr.count("error:") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "--samples", "9" * 5000], ["bench", "--seeds", "100000000"], ["bench", "--budget", "nan"],
        ["train", "--samples-seed", str(2**53)], ["train", "--seed", "9" * 4000],
        ["train", "--rank", "9" * 4299],
        ["bench", "--gate-entropy", "-1"], ["bench", "--gate-rate", "1e23"], ["bench", "--out", "x" * 300],
        ["train", "--learning-rate", "inf"], ["tui", "--serve", "--port", "99999999"],
    ],
)  # fmt: skip
def test_numbers_that_mean_nothing_are_one_line(tiny_home: Path, arguments: list[str]) -> None:
    done = run(*arguments, *(["--dataset", "tiny"] if arguments[0] != "tui" else []))
    assert done.returncode in (2, 74), done.stderr
    assert b"Traceback" not in done.stderr and done.stderr.count(b"error:") == 1
    assert len(done.stderr) < 9000


def test_what_is_repeated_in_an_error_is_cut(tiny_home: Path) -> None:
    done = run("data", "x" * 100_000)
    assert done.returncode == 2 and len(done.stderr) < 2100 and done.stderr.count(b"error:") == 1


NOWHERE = ("x" * 300, "x/" * 3000, "file/below", "file/below/that", "circle", "circle/x")
"""Paths at which nothing can lie."""
SMALL = ["--dataset", "tiny", "--preset", "quick"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "--methods", "popularity", *SMALL, "--out"], ["train"], ["evaluate"], ["distil"], ["serve"],
        ["train", "--method", "sasrec", *SMALL, "--out"], ["recommend", "--user", "3", "--run"], ["audit"],
        ["recommend", "--user", "3", "--runs"], ["export", "--user", "3", "--out", "adapter", "--run"],
        ["analyze"], ["results", "--out"], ["results", "export", "--to", "r", "--out"],
        ["results", "merge", "a", "--out"], ["power", "--out"], ["bench", "--dataset"], ["bench", "--model"],
        ["data", "add", "own", "--items", "file", "--interactions"], ["data"],
        ["data", "show", "tiny", "--samples", "test", "--out"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_path_where_nothing_can_lie_is_one_line(
    tiny_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "file").write_text("mine")
    (here / "circle").symlink_to(here / "circle")
    monkeypatch.chdir(here)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # file/below could be a repository's name
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for path in NOWHERE:
        with pytest.raises(SystemExit) as end:
            main([*arguments, path])
        said = capsys.readouterr().err
        assert end.value.code == 2 and said.count("error:") == 1 and "Traceback" not in said, (path[:9], said)
        assert len(said) < 4000 and "free some space" not in said, (path[:9], said)
        assert {found.name for found in here.rglob("*")} <= {"circle", "file", "runs"}  # an empty `runs`
