"""`ilora-app audit`: what test cases give away to a reader who sees no history, and what parts share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ilora_app.cli.saying import say, say_json

if TYPE_CHECKING:
    from core.data.audit import Finding


def audit(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|DATASET", help="Candidate files (several are compared as parts), or one dataset."
        ),
    ],
    split: Annotated[str, typer.Option(help="Split of a dataset.")] = "paper",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Look for leaks in test cases: exit 1 where there is one."""
    from core.data.audit import audit as look

    if len(files) == 1 and not Path(files[0]).is_file():
        found = _of_dataset(files[0], split)
    else:
        from core.data.reading.candidate_files import read_cases

        found = look({name: read_cases(Path(name)) for name in files})
    if as_json:
        record = [{"name": one.name, "found": one.said, "leaks": one.leaks} for one in found]
        say_json({"leaks": any(one.leaks for one in found), "findings": record})
    else:
        for one in found:
            say(f"{'LEAK' if one.leaks else 'ok':4}  {one.name}: {one.said}")
    if any(one.leaks for one in found):
        raise typer.Exit(1)


def _of_dataset(name: str, split: str) -> list[Finding]:
    """The findings about a dataset's own test cases."""
    from core.config.settings import DataConfig
    from core.data.audit import asked_of, audit_split
    from core.data.audit import audit as look
    from core.data.card_files import load_card
    from core.data.loading import load_task_data
    from core.errors import InputError

    try:
        load_card(name)
    except InputError as error:
        raise InputError(f"{name} is neither a file nor a dataset", error.hint) from error
    dataset, samples = load_task_data(DataConfig(dataset=name, split=split))
    return [*look({"test": asked_of(dataset, samples)}), *audit_split(dataset, samples)]
