"""Runs a command of the program inside a test."""

from __future__ import annotations

import pytest

from ilora_app.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> tuple[str, str]:
    """What it said on stdout and on stderr; it must end with this code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert ended.value.code == code, said
    return said.out, said.err
