"""`ilora-app data` and `ilora-app models`: what they print, write and refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from core.assets import fetching, spec
from core.errors import Interrupted
from ilora_app.cli import main
from tests.data import made_up


class Said(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in this process, in a wide terminal."""
    monkeypatch.setenv("COLUMNS", "200")

    def runs(*arguments: str | Path) -> Said:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        assert isinstance(caught.value.code, int)
        return Said(caught.value.code, *capsys.readouterr())

    return runs


@pytest.fixture
def made_up_home(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a made-up dataset's card, and a mirror that has its files."""
    (own_home / "cards").mkdir(parents=True)
    (own_home / "cards" / "made-up.toml").write_text(made_up.card())
    monkeypatch.setenv(spec.MIRROR_VARIABLE, str(made_up.mirror(tmp_path / "mirror")))
    return own_home


def refused(said: Said, words: str) -> None:
    """Exit 2, nothing on stdout, one line of error and one of hint."""
    assert said.code == 2 and said.out == ""
    error, hint = said.err.splitlines()
    assert error.startswith("error: ") and words in error and hint.startswith("hint: ")


def test_lists_datasets_with_state_size_licence_and_counts(run: Run, own_home: Path) -> None:
    said = run("data")
    assert said.code == 0 and said.err == ""
    for words in ("movielens", "not fetched", "4.92 MB", "GroupLens", "943", "1,682", "100,000"):
        assert words in said.out
    rows = {row["name"]: row for row in json.loads(run("data", "--json").out)["datasets"]}
    assert list(rows) == ["lastfm", "movielens", "steam"]
    row = rows["movielens"]
    assert row["cached"] is False and row["users"] == 943
    assert not own_home.exists()


def test_fetches_and_shows_a_dataset(run: Run, made_up_home: Path) -> None:
    said = run("data", "made-up")
    assert said.code == 0 and "fetching made-up from local" in said.err
    assert "Made up" in said.out and "split leave-one-out" in said.out
    row = json.loads(run("data", "made-up", "--json").out)
    assert row["cached"] is True and {split["split"] for split in row["splits"]} >= {"paper", "leave-one-out"}
    assert [row["cached"] for row in json.loads(run("data", "--json").out)["datasets"]][-2:] == [False, True]


def test_writes_test_cases_as_json_lines(run: Run, made_up_home: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "cases.jsonl"
    said = run("data", "made-up", "--samples", "test", "--out", out, "--split", "leave-one-out", "--json")
    summary = json.loads(said.out)
    cases = [json.loads(line) for line in out.read_text().splitlines()]
    assert said.code == 0 and summary["cases"] == len(cases) > 0
    for case in cases:
        assert case["sets"] == ["last"] and len(case["candidates"]) == 20
        assert case["target"] in case["candidates"] and len(case["history"]) == case["position"]
        assert set(case["target"]) == {"id", "title"}
    first = out.read_bytes()
    run("data", "made-up", "--samples", "test", "--out", out, "--split", "leave-one-out")
    assert out.read_bytes() == first
    other = run("data", "made-up", "--samples", "test", "--out", out, "--samples-seed", "1", "--json")
    assert json.loads(other.out)["samples_sha256"] != summary["samples_sha256"]


def test_a_case_of_two_sets_is_written_once(run: Run, made_up_home: Path, tmp_path: Path) -> None:
    out = tmp_path / "cases.jsonl"
    assert run("data", "made-up", "--samples", "test", "--out", out).code == 0
    cases = [json.loads(line) for line in out.read_text().splitlines()]
    assert ["last", "spread"] in [case["sets"] for case in cases]
    assert len({(case["user"], case["position"]) for case in cases}) == len(cases)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data", "nope"], "unknown dataset 'nope'"),
        (["data", "made-up", "--samples", "test"], "belong together"),
        (["data", "made-up", "--out", "x"], "belong together"),
        (["data", "--samples", "test", "--out", "x"], "needs a dataset"),
        (["data", "made-up", "--samples", "some", "--out", "x"], "unknown set: some"),
        (["data", "made-up", "--samples", "test", "--out", "."], "--out is a folder"),
        (["data", "made-up", "--samples", "test", "--out", f"{__file__}/x"], "cannot be written"),
        (["data", "--nope"], "--nope"),
        (["models", "nope"], "unknown model: nope"),
    ],
)
def test_bad_requests_are_refused(run: Run, made_up_home: Path, arguments: list[str], words: str) -> None:
    refused(run(*arguments), words)
    assert not (made_up_home / "datasets").exists()


@pytest.mark.skipif(os.name == "nt", reason="a full device is a file only on Unix")
def test_an_output_that_turns_out_unwritable_is_refused(run: Run, made_up_home: Path) -> None:
    run("data", "made-up")
    refused(
        run("data", "made-up", "--samples", "test", "--out", "/proc/nope/cases.jsonl"), "cannot be written"
    )


def test_an_unknown_split_is_refused(run: Run, made_up_home: Path, tmp_path: Path) -> None:
    run("data", "made-up")
    out = tmp_path / "cases.jsonl"
    refused(
        run("data", "made-up", "--samples", "test", "--out", out, "--split", "x"),
        "unknown split 'x' for made-up",
    )
    assert not out.exists()


def test_a_broken_card_is_refused_by_name(run: Run, made_up_home: Path) -> None:
    (made_up_home / "cards" / "made-up.toml").write_text(made_up.card() + "colour = 1\n")
    refused(run("data", "made-up"), "made-up.toml: unknown key 'reported[0].colour'")


def test_damaged_data_is_refused_with_file_and_line(run: Run, made_up_home: Path, tmp_path: Path) -> None:
    damaged = made_up.ratings().replace(b"\t", b" ", 1)
    (made_up_home / "cards" / "made-up.toml").write_text(made_up.card(interactions=damaged))
    (tmp_path / "mirror" / "made-up" / "ratings.tsv").write_bytes(damaged)
    said = run("data", "made-up")
    assert said.code == 2 and "error: ratings.tsv, line " in said.err and said.out == ""


def test_without_network_and_mirror_one_line_says_what_to_put_where(
    run: Run, made_up_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(spec.MIRROR_VARIABLE)
    said = run("data", "made-up", "--json")
    assert said.code == 2 and said.out == ""
    assert "error: made-up could not be fetched: 127.0.0.1 cannot be reached" in said.err
    assert (
        "hint: put ratings.tsv and films.txt into FOLDER/made-up/ and set ILORA_APP_MIRROR=FOLDER" in said.err
    )


def test_lists_models(run: Run, own_home: Path) -> None:
    said = run("models")
    for words in ("smollm2-135m-instruct", "not fetched", "92.9 MB", "Apache-2.0"):
        assert words in said.out
    (row,) = json.loads(run("models", "--json").out)["models"]
    assert row["name"] == "smollm2-135m-instruct" and row["cached"] is False and len(row["sha256"]) == 64


@pytest.mark.network
def test_fetches_the_embedded_model_and_movielens(run: Run, home: Path) -> None:
    row = json.loads(run("models", "smollm2-135m-instruct", "--json").out)
    assert row["cached"] is True and Path(row["path"]).stat().st_size == row["bytes"]
    row = json.loads(run("data", "movielens", "--json").out)
    assert row["splits"][0]["test"] == {"last": 95, "spread": 949}


def test_asking_for_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from ilora_app.cli import main\n"
        "try: main(['data', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pandas', 'torch', 'transformers', 'textual', 'core.data', 'core.assets'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("raised", [KeyboardInterrupt, Interrupted])
def test_stopping_says_so_and_exits_130(
    run: Run, made_up_home: Path, monkeypatch: pytest.MonkeyPatch, raised: type[BaseException]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(fetching, "obtain", stop)
    assert run("data", "made-up") == (130, "", "stopped\n")


@pytest.mark.parametrize(
    "raised",
    [MemoryError(), RuntimeError("can't allocate memory: you tried")],
)
def test_memory_that_runs_out_is_one_line_whatever_command_it_was(
    run: Run, made_up_home: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    def fill(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(fetching, "obtain", fill)
    said = run("data", "made-up")
    assert said.code == 2
    assert said.err == "error: the memory ran out\nhint: close other programs, or use a smaller --model\n"


# --- one's own -------------------------------------------------------------------------------------------


def own_files(folder: Path) -> tuple[Path, Path]:
    lines = [line.replace("\t", ",") for line in made_up.ratings().decode().splitlines()]
    (folder / "ratings.csv").write_text("\n".join(["reader,book,stars,when", *lines]) + "\n")
    (folder / "books.tsv").write_text(
        "id\tname\n" + "".join(f"{item}\tBook {item}\n" for item in range(1, made_up.ITEMS + 1))
    )
    return folder / "ratings.csv", folder / "books.tsv"


def test_own_files_are_added_shown_and_forgotten(run: Run, own_home: Path, tmp_path: Path) -> None:
    ratings, books = own_files(tmp_path)
    columns = ("--user-column", "reader", "--item-column", "book", "--time-column", "when")
    said = run(
        "data", "add", "books", "--interactions", ratings, "--items", books, *columns, "--noun", "book"
    )
    assert said.code == 0, said.err
    assert "user 'reader', item 'book', rating 'stars', time 'when' (seconds)" in said.out
    assert "id 'id', title 'name'" in said.out and "added books: 12 users, 60 items" in said.out
    row = json.loads(run("data", "books", "--json").out)
    assert row["users"] == 12 and {split["split"] for split in row["splits"]} >= {"paper", "leave-one-out"}
    assert run("data", "remove", "books").code == 0 and ratings.exists()
    refused(run("data", "books"), "unknown dataset 'books'")


def test_what_cannot_be_guessed_is_asked_for_in_one_line(run: Run, own_home: Path, tmp_path: Path) -> None:
    ratings, books = own_files(tmp_path)
    refused(
        run("data", "add", "books", "--interactions", ratings, "--items", books), "which column is the user?"
    )
    refused(run("data", "add", "add", "--interactions", ratings), "cannot be a dataset's name")
    refused(run("data", "remove", "movielens"), "no dataset of your own")


def test_what_was_guessed_and_left_out_is_said(run: Run, own_home: Path, tmp_path: Path) -> None:
    ratings, books = own_files(tmp_path)
    lines = ratings.read_text().splitlines()
    untimed = [line.rpartition(",")[0] for line in lines]
    ratings.write_text("\n".join([*untimed, "1,none,5"]) + "\n")
    columns = ("--user-column", "reader", "--item-column", "book", "--drop-unlisted")
    said = run("data", "add", "books", "--interactions", ratings, "--items", books, *columns)
    assert said.code == 0, said.err
    assert "note: ratings.csv has no times: the order of its lines" in said.out
    assert "left out: 1 interactions" in said.out
    record = json.loads(run("data", "books", "--json").out)
    assert record["interactions"] == made_up.USERS * 10


def test_how_files_are_written_can_be_said(run: Run, own_home: Path, tmp_path: Path) -> None:
    ratings, books = own_files(tmp_path)
    files = ("--interactions", ratings, "--items", books, "--user-column", "reader", "--item-column", "book")
    for options, words in (
        (("--separator", "ab"), "--separator cannot be"),
        (("--quoting", "some"), "--quoting cannot be"),
        (("--encoding", "klingon"), "--encoding cannot be"),
        (("--header", "some"), "--header cannot be"),
        (("--header", "both", "--no-header"), "exclude each other"),
        (("--no-header",), "plainly names of columns"),
    ):
        refused(run("data", "add", "books", *files, *options), words)
    refused(run("data", "add", "books", *files, "--time-format", "seconds"), "without a column of times")
    timed = (*files, "--time-column", "when")
    refused(run("data", "add", "books", *timed, "--time-format", "sundial"), "--time-format cannot be")
    said = run("data", "add", "books", *timed, "--separator", "tab", "--quoting", "none", "--header", "both")
    assert said.code == 0, said.err
