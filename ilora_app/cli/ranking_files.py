"""`ilora-app results export` and `check`: ranking files for other programs, and whether they are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ilora_app.cli.choosing import DEFAULT_OUT
from ilora_app.cli.saying import say

Folder = Annotated[Path, typer.Option(help="Folder that `ilora-app bench` wrote to.")]


def export(
    form: Annotated[
        str, typer.Option("--format", help="trec (for ir_measures, pytrec_eval, ranx), parquet or csv.")
    ] = "trec",
    dataset: Annotated[str | None, typer.Option(help="This dataset's results only.")] = None,
    method: Annotated[str | None, typer.Option(help="These methods only (comma-separated).")] = None,
    split: Annotated[str | None, typer.Option(help="This split only.")] = None,
    test_set: Annotated[str | None, typer.Option("--set", help="This test set only (spread, last).")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder to write into; OUT/export if left out.")] = None,
    out: Folder = DEFAULT_OUT,
) -> None:
    """Write every ranking as a run, and what was right as qrels, for other evaluation programs."""
    from core.config.checks import check_choice
    from core.errors import ResultError
    from core.results.merging import restricted
    from core.results.rankings import load_rankings
    from core.results.store import load_results, result_path
    from core.results.trec import FORMATS, exported, write

    check_choice(form, FORMATS, "format")
    found, problems = load_results(out)
    for problem in problems:
        say(f"left out: {problem}", err=True)
    names = [name.strip() for name in (method or "").split(",") if name.strip()]
    of_dataset = [result for result in found if dataset in (None, result.dataset)]
    chosen = {result.key for result in restricted(of_dataset, names, split, test_set)}
    if not chosen:
        raise ResultError(f"no such results in {out}", "ilora-app results lists those that there are")
    whole = [
        (result, load_rankings(result, result_path(out, *result.key)))
        for result in of_dataset
        if result.key in chosen
    ]
    parts = [
        part
        for result, rankings in whole
        for part in exported(restricted([result], test_set=test_set)[0], rankings)
    ]
    for path in write(parts, to or out / "export", form):
        say(path)


def check(out: Folder = DEFAULT_OUT) -> None:
    """Check that every result's metrics follow from its ranks, and that every ranking file is whole."""
    from core.errors import ResultError
    from core.results.rankings import load_rankings
    from core.results.store import load_results, result_path

    found, problems = load_results(out)
    if not found and not problems:
        raise ResultError(f"no results in {out}", "ilora-app bench makes some")
    without = 0
    for result in found:
        if result.rankings_sha256 is None:
            without += 1
            continue
        try:
            load_rankings(result, result_path(out, *result.key))
        except ResultError as error:
            problems.append(f"{error.title} – {error.hint}")
    for problem in problems:
        say(problem)
    older = f", {without} of an older version without a ranking file" if without else ""
    say(f"{len(found)} results read{older}; {len(problems)} problems")
    if problems:
        raise typer.Exit(1)
