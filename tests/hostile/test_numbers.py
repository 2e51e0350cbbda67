"""Every number that a command takes, whatever is given for it: it works, or one line says why not."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from ilora_app.cli import app, distil, main, serve, train
from ilora_app.tui.browser import LocalServer
from tests import tiny
from tests.data.own.acts import TIMED, TITLED

NUMBERS = ("-1", "0", "1e309", "nan", "inf", "-0.5", "9" * 5000, str(2**63), str(2**53), "x", "")
WORDS = {
    ("bench",): ("retrieve", "test_from", "chat_price", "sweep"),
    ("train",): ("retrieve", "test_from"),
    ("recommend",): ("history", "push"),
    ("evaluate",): ("clusters",),
    ("power",): ("lift",),
    ("results",): ("over",),
}
"""Options that take numbers as text, among other words."""


def commands(group: typer.Typer, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its function; a group that does something by itself is one, too."""
    for command in group.registered_commands:
        yield (*above, str(command.name)), command.callback
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        name = (*above, str(inner.name))
        yield from commands(inner.typer_instance, name)
        if inner.typer_instance.registered_callback:
            yield name, inner.typer_instance.registered_callback.callback


def numeric(command: Callable[..., Any]) -> list[str]:
    """Its parameters that are numbers."""
    found = []
    for one in inspect.signature(command, eval_str=True).parameters.values():
        kind = typing.get_args(one.annotation)[0] if typing.get_args(one.annotation) else one.annotation
        if {int, float} & {kind, *typing.get_args(kind)}:
            found.append(one.name)
    return found


OPTIONS = [
    (path, name) for path, command in commands(app) for name in (*numeric(command), *WORDS.get(path, ()))
]
NEEDED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("bench",): ("--dataset", "tiny", "--methods", "popularity", "--preset", "quick"),
    ("train",): ("--dataset", "tiny", "--preset", "quick"),
    ("recommend",): ("--user", "3"),
    ("data", "show"): ("tiny",),
    ("data", "add"): ("own", "--interactions", "i.csv", "--items", "t.csv"),
    ("results",): ("--beyond",),
    ("export",): ("--user", "3"),
}
"""What a command is given beside the number."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    return tiny.trained_run(tmp_path_factory.mktemp("numbers"))


@pytest.fixture
def run(
    trained: tuple[Path, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[tuple[str, ...], str, str], int]:
    """Runs a command with one number, up to what would listen, draw or train for long."""
    path, environment = trained
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "i.csv").write_text(TIMED)
    (tmp_path / "t.csv").write_text(TITLED)

    def done(*_: Any, **__: Any) -> None:
        raise typer.Exit

    monkeypatch.setattr(train, "run_plan", done)
    monkeypatch.setattr(distil, "run_plan", done)
    monkeypatch.setattr(LocalServer, "serve", done)
    monkeypatch.setattr(serve, "_uvicorn", done)
    folders = {
        ("recommend",): ("--runs", str(path.parents[1])),
        ("serve",): (str(path),),
        ("distil",): (str(path), "--out", str(tmp_path / "runs")),
        ("evaluate",): (str(path),),
        ("analyze",): (str(path),),
        ("export",): (str(path), "--out", str(tmp_path / "adapter")),
        ("results",): ("--out", str(path.parents[1])),
        ("power",): ("--out", str(path.parents[1])),
        ("tui",): ("--serve",),
    }

    def ran(command: tuple[str, ...], option: str, value: str) -> int:
        flag = f"--{option.replace('_', '-')}"
        given = f"rank={value}" if option == "sweep" else value
        out = ("--out", str(tmp_path / "runs")) if command in (("bench",), ("train",)) else ()
        rest = (*NEEDED.get(command, ()), *folders.get(command, ()), *out)
        if option in ("history", "candidates") and command == ("recommend",):
            rest = (*rest, "--from", "catalogue")
        with pytest.raises(SystemExit) as ended:
            main([*command, *rest, f"{flag}={given}"])
        return int(ended.value.code or 0)

    return ran


def test_every_command_is_looked_into() -> None:
    found = {path for path, _ in OPTIONS}
    assert {("bench",), ("train",), ("recommend",), ("serve",), ("data", "add"), ("results",)} <= found
    assert (("bench",), "learning_rate") in OPTIONS


@pytest.mark.parametrize(
    ("command", "option"), OPTIONS, ids=lambda value: "-".join(value) if isinstance(value, tuple) else value
)
def test_a_number_works_or_is_refused_in_one_line(
    run: Callable[[tuple[str, ...], str, str], int],
    command: tuple[str, ...],
    option: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for value in NUMBERS:
        code, said = run(command, option, value), capsys.readouterr().err
        assert code in (0, 2), (value[:20], code, said)
        assert said.count("error:") == (code == 2), (value[:20], said)
        assert "Traceback" not in said and len(said) < 9000
