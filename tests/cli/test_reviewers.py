"""The page for reviewers names commands and options that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from ilora_app.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "reviewers.md"
LINES = re.findall(r"^    (ilora-app .*)$", PAGE.read_text(encoding="utf-8"), flags=re.M)


def command_of(words: list[str]) -> Any:
    found: Any = typer.main.get_command(app)
    for word in words:
        if word not in getattr(found, "commands", {}):
            break
        found = found.commands[word]
    return found


@pytest.mark.parametrize("line", LINES)
def test_every_line_can_be_typed(line: str) -> None:
    words = shlex.split(re.sub(r"[\[\]]", "", line.partition("  #")[0]))[1:]
    command = command_of(words)
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    assert {name for word in words if word.startswith("--") for name in word.split("|")} <= known


def test_all_parts_are_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for part in ("Protocol", "Splits", "Leaks", "Statistics", "Power", "More than accuracy"):
        assert f"\n## {part}" in text
    assert len(LINES) > 15 and len(text.split()) < 900  # one page
