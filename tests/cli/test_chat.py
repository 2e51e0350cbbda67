"""The chat model from the command line: off until asked for, complete or refused, seen in the table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.recommenders import chat_client
from core.results.store import load_results
from ilora_app.cli import main
from ilora_app.cli.bench import _methods
from tests.chat_server import KEY, serving

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `bench` on the made-up dataset in this process; exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        given = [
            "bench",
            "--dataset",
            "tiny",
            "--preset",
            "quick",
            "--out",
            str(tmp_path / "runs"),
            *arguments,
        ]
        with pytest.raises(SystemExit) as caught:
            main(given)
        written = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, written.out, written.err

    return run


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv(chat_client.URL_VARIABLE, raising=False)
    monkeypatch.setenv(chat_client.KEY_VARIABLE, KEY)
    monkeypatch.setenv("COLUMNS", "160")
    return monkeypatch


def test_all_leaves_the_chat_model_out_unless_there_is_an_address() -> None:
    assert "chat" not in _methods("all", None)
    assert {"popularity", "ilora"} <= set(_methods("all", None))
    assert {*_methods("all", "http://127.0.0.1:1/v1")} - {*_methods("all", None)} == {"chat"}
    assert _methods("chat, popularity", None) == ("chat", "popularity")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--methods", "chat"], "needs an address"),
        (["--methods", "popularity,chat", "--chat-model", "m"], "needs an address"),
        (["--methods", "chat", "--chat-url", "http://127.0.0.1:1/v1"], "the name of a model"),
        (["--methods", "all", "--chat-url", "http://127.0.0.1:1/v1"], "the name of a model"),
        (["--methods", "chat", "--chat-url", "h", "--chat-model", "m"], "no web address"),
        (["--methods", "chat", "--chat-url", "http://h", "--chat-model", "m", "--chat-price", "3"], "is 3"),
        (["--methods", "chat", "--chat-url", "http://h", "--chat-model", "m", "--chat-price", "a,b"], "a,b"),
        (["--methods", "chat", "--chat-url", "http://h", "--chat-model", "m", "--chat-price", "1,-2"], "-2"),
        (["--methods", "popularity", "--chat-model", "m"], "--chat-model is given"),
        (["--chat-key", "secret"], "--chat-key"),
    ],
)
def test_what_is_missing_is_one_line_before_anything_else(
    run: Run, tmp_path: Path, arguments: list[str], says: str
) -> None:
    code, out, err = run(*arguments)
    lines = err.splitlines()
    assert (code, out) == (2, "")
    assert lines[-2].startswith("error: "), err
    assert says in lines[-2]
    assert lines[-1].startswith("hint: ")
    assert not (tmp_path / "runs").exists()


def test_without_a_key_nothing_starts(run: Run, tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    environment.delenv(chat_client.KEY_VARIABLE)
    code, _, err = run("--methods", "chat", "--chat-url", "http://127.0.0.1:1/v1", "--chat-model", "m")
    assert code == 2
    assert "needs a key in ILORA_APP_CHAT_KEY" in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("by", ["option", "environment"])
def test_the_row_stands_in_the_table_with_its_model_and_the_key_nowhere(
    run: Run, tmp_path: Path, environment: pytest.MonkeyPatch, by: str
) -> None:
    with serving() as seen:
        address = ["--chat-url", seen.url]
        if by == "environment":
            environment.setenv(chat_client.URL_VARIABLE, seen.url)
            address = []
        given = ["--methods", "popularity,chat", *address, "--chat-model", "acme/tiny-chat"]
        code, out, err = run(*given, "--chat-price", "2.5,10")
        assert code == 0, err
        assert seen.bodies
    assert "Chat model (tiny-chat)" in " ".join(out.split())
    assert "requests to acme/tiny-chat" in err
    assert KEY not in out + err
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    results = {result.method: result for result in load_results(tmp_path / "runs")[0]}
    assert results["chat"].config["chat"]["url"] == seen.url
    assert "chat" not in results["popularity"].config


def test_several_models_are_a_sweep(run: Run, tmp_path: Path) -> None:
    with serving() as seen:
        code, _, err = run("--methods", "chat", "--chat-url", seen.url, "--sweep", "chat-model=a,b")
    assert code == 0, err
    assert {result.model for result in load_results(tmp_path / "runs")[0]} == {"a", "b"}


def test_json_announces_and_fails_as_events(run: Run) -> None:
    with serving(lambda *_: (404, {"error": "model 'm' not found"}, {})) as seen:
        code, out, err = run("--methods", "chat", "--chat-url", seen.url, "--chat-model", "m", "--json")
    events: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    assert code == 2
    assert any("requests to m" in event.get("text", "") for event in events)
    assert events[-1]["event"] == "Failed"
    assert "no such model or address (HTTP 404: model 'm' not found)" in events[-1]["title"]
    assert err.startswith("error: m at ")


def test_the_published_row_beside_it_is_gpt_4() -> None:
    from core.data.card_files import load_card
    from ilora_app.render.reported import reported_for

    published = {}
    for name in ("movielens", "lastfm", "steam"):
        row = reported_for("chat", load_card(name).reported)
        assert row is not None
        published[name] = (row.method, row.valid_ratio, row.hit_ratio_at_1)
    assert published == {
        "movielens": ("GPT-4, zero-shot", 0.9895, 0.2),
        "lastfm": ("GPT-4, zero-shot", 1.0, 0.377),
        "steam": ("GPT-4, zero-shot", 0.9798, 0.3626),
    }
