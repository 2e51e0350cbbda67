"""`ilora-app results`: leaderboards, comparisons and reports from files on disk; nothing is run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ilora_app.cli.choosing import DEFAULT_OUT
from ilora_app.cli.saying import say, say_json

if TYPE_CHECKING:
    from core.data.cards import DatasetCard
    from core.results.tables import Row, Table

app = typer.Typer(
    help="Rebuild leaderboards, comparisons and reports from finished runs, without running anything.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def results(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Option(help="Show this dataset's results only.")] = None,
    method: Annotated[str | None, typer.Option(help="Show these methods only (comma-separated).")] = None,
    split: Annotated[str | None, typer.Option(help="Show this split only.")] = None,
    test_set: Annotated[
        str | None, typer.Option("--set", help="Show this test set only (spread, last, cold, ...).")
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that `ilora-app bench` wrote to; give several to see them as one. [runs]"),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Split the cases by popularity, history, title, user or item."),
    ] = None,
    over: Annotated[
        str | None, typer.Option(help="Show the rows by a setting that was swept, such as users or rank.")
    ] = None,
    compare: Annotated[
        tuple[str, str] | None, typer.Option(help="Two methods, compared on the same cases.")
    ] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="Compare every two methods.")] = False,
    metric: Annotated[str, typer.Option(help="Metric of --by, --over, --compare and --pairs.")] = "HR@1",
    beyond: Annotated[
        bool,
        typer.Option(
            "--beyond",
            help="Show more than hits: coverage, popularity, novelty, genres, agreement.",
        ),
    ] = False,
    trials: Annotated[bool, typer.Option("--trials", help="Show what bench --tune N tried.")] = False,
    top: Annotated[
        int | None, typer.Option(help="Length of the lists under --beyond, up to 100. [10]")
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Show the results that come with the program, too.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Write report.html, report.md, results.jsonl and results.csv.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV and nothing else.")] = False,
) -> None:
    """Rebuild the leaderboard from finished runs, without running anything."""
    if context.invoked_subcommand is not None:
        return
    from core.errors import InputError
    from core.runs.demo import DEMO_OUT

    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other", "give one of them")
    folders = out or [DEFAULT_OUT]
    if trials:
        from ilora_app.cli.trials import print_trials

        print_trials(folders, dataset, as_json, as_csv)
        return
    tables, problems = tables_of(folders, dataset, method, split, test_set, demo)
    folders = [*folders, DEMO_OUT] if demo else folders
    cards = {table.dataset: _card(table.dataset) for table in tables}
    if top is not None and not beyond:
        raise InputError("--top is about the lists of --beyond", "add --beyond")
    if as_json and not beyond:
        _print_json(tables, problems, cards, folders)
        return
    for problem in problems:
        say(f"left out: {problem}", err=True)
    if beyond:
        from ilora_app.cli.beyond import print_beyond

        print_beyond(tables, folders, top, as_json, as_csv)
        return
    if as_csv:
        from ilora_app.render.export import tables_csv

        sys.stdout.write(tables_csv(tables, {name: card.reported for name, card in cards.items() if card}))
    elif report:
        for path in write_reports(tables, problems, folders):
            say(path)
    elif by is not None:
        _print_groups(tables, folders, by, metric)
    elif over is not None:
        _print_sweep(tables, over, metric)
    elif compare is not None or pairs:
        _print_pairs(tables, compare, metric)
    else:
        from ilora_app.render.leaderboard import print_leaderboards

        print_leaderboards(tables, cards)


@app.command("merge")
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders that `ilora-app bench` wrote to.")],
    out: Annotated[Path, typer.Option(help="Folder to copy their results into.")],
) -> None:
    """Copy the results of several folders into one; models stay where they are."""
    from core.results.merging import merge

    merged = merge(folders, out)
    for problem in merged.problems:
        say(f"left out: {problem}", err=True)
    say(f"{merged.results} results copied into {out}")


def write_reports(tables: list[Table], problems: list[str], folders: list[Path]) -> list[Path]:
    """Writes the report's files into the first folder and returns their paths.

    Raises:
        ResultError: the folder cannot be written or was removed, or a file beside the results is damaged.
    """
    from core.errors import ResultError
    from core.results.store import check_there
    from ilora_app.render.report import write_report

    cards = {table.dataset: _card(table.dataset) for table in tables}
    try:
        paths = write_report(tables, folders, cards, problems, folders[0])
    except OSError as error:
        raise ResultError(
            f"cannot write the report into {folders[0]}: {error.strerror}", "choose another folder with --out"
        ) from error
    check_there(paths, "the same command writes it again")
    return paths


def report_folder(out: Path) -> list[Path]:
    """Writes the report of everything that an output folder holds, and returns the files' paths."""
    from core.results.merging import load_folders
    from core.results.tables import group_tables

    found, problems = load_folders([out])
    return write_reports(group_tables(found), problems, [out])


def tables_of(
    folders: list[Path],
    dataset: str | None,
    methods: str | None,
    split: str | None,
    test_set: str | None,
    demo: bool = False,
) -> tuple[list[Table], list[str]]:
    """The tables asked for, newest first, and one line for each file left out.

    Raises:
        ResultError: there is nothing to show.
    """
    from core.errors import ResultError
    from core.results.merging import load_folders, restricted
    from core.results.store import load_results
    from core.results.tables import group_tables
    from core.runs.demo import DEMO_OUT

    found, problems = load_folders(folders)
    if demo:  # a run of one's own stands for the same one of the demo
        own = {result.key for result in found}
        found += [result for result in load_results(DEMO_OUT)[0] if result.key not in own]
    of_dataset = [result for result in found if dataset in (None, result.dataset)]
    names = [name.strip() for name in (methods or "").split(",") if name.strip()]
    wanted = restricted(of_dataset, names, split, test_set)
    if wanted:
        return group_tables(wanted), problems
    for problem in problems:
        say(f"left out: {problem}", err=True)
    where = ", ".join(map(str, folders))
    if of_dataset:
        asked = [f"method {methods}"] * bool(methods) + [f"split {split}"] * (split is not None)
        asked += [f"set {test_set}"] * (test_set is not None)
        known = sorted({(result.method, result.split, *result.metrics) for result in of_dataset})
        hint = "there are: " + "; ".join(" · ".join(entry) for entry in known[:6])
        raise ResultError(f"no results in {where} for {', '.join(asked)}", hint)
    hint = f"ilora-app bench --dataset {dataset or 'movielens'} --out {folders[0]} makes some"
    if not found:
        hint += "; --demo shows those that come with the program"
    if others := sorted({result.dataset for result in found}):
        hint += f"; there are results for {', '.join(others)}"
    usable = "usable results" if problems else "results"
    raise ResultError(f"no {usable}{f' for {dataset}' if dataset else ''} in {where}", hint)


def _card(dataset: str) -> DatasetCard | None:
    """The dataset's card, for its title and published figures; None where it has none (any more)."""
    from core.data.card_files import load_card
    from core.errors import InputError

    try:
        return load_card(dataset)
    except InputError:
        return None


def _print_json(
    tables: list[Table], problems: list[str], cards: dict[str, DatasetCard | None], folders: list[Path]
) -> None:
    from ilora_app.render.export import table_record

    records = []
    for table in tables:
        card = cards[table.dataset]
        records.append(table_record(table, card.reported if card else ()))
    record = {"tables": records, "problems": problems}
    say_json(record)


def _print_groups(tables: list[Table], folders: list[Path], dimension: str, metric: str) -> None:
    from core.config.checks import check_choice
    from core.errors import ResultError
    from core.results.breakdown import DIMENSIONS, groups
    from core.results.merging import facts_for
    from ilora_app.render.terminal import print_text_table
    from ilora_app.render.text_tables import division

    check_choice(dimension, tuple(DIMENSIONS), "way to cut the cases")
    for table in tables:
        check_metric(table, metric)
        facts = facts_for(folders, table)
        if facts is None:
            raise ResultError(
                f"nothing is known of the cases of {table.dataset} in {', '.join(map(str, folders))}",
                "run the benchmark again: finished results are reused, what is missing is added",
            )
        for test_set in table.sets:
            found = groups(facts, table.rows[0].places[test_set])
            print_text_table(division(table, test_set, found, dimension).text_table(table, test_set, metric))


def _print_sweep(tables: list[Table], setting: str, metric: str) -> None:
    from core.errors import InputError
    from core.results.sweeps import sweep_over
    from ilora_app.cli.options import sweepable
    from ilora_app.render.terminal import print_text_table
    from ilora_app.render.text_tables import sweep

    path = sweepable().get(setting.replace("_", "-"), ("", str))[0]
    if not path:
        raise InputError(f"{setting} is no setting that can be swept", "such as users, rank or item-text")
    part, _, name = path.partition(".")
    for table in tables:
        check_metric(table, metric)
        found = sweep_over(table, (part, name))
        for test_set in table.sets:
            print_text_table(sweep(found, table, test_set, metric))


def _print_pairs(tables: list[Table], names: tuple[str, str] | None, metric: str) -> None:
    from core.errors import InputError
    from core.results.tables import Pair
    from ilora_app.render.terminal import print_text_table
    from ilora_app.render.text_tables import pair_rows

    for table in tables:
        check_metric(table, metric)
        rows = [row_named(table, name) for name in names] if names else []
        if rows and rows[0] is rows[1]:
            raise InputError(f"{rows[0].label} cannot be compared with itself", "name two methods")
        for test_set in table.sets:
            found = table.pairs(test_set, metric)
            if rows and any(row in table.controls for row in rows):  # one question, asked by itself
                a, b = rows
                comparison = table.compare(a, b, test_set, metric)
                found = [Pair(a, b, (test_set, metric), comparison, comparison.p)]
            chosen = [pair.facing(rows[0]) for pair in found if pair.joins(*rows)] if rows else found
            print_text_table(pair_rows(chosen, test_set, metric, len(found)))


def check_metric(table: Table, metric: str) -> None:
    """Raises `InputError` unless every test set has the metric."""
    from core.config.checks import check_choice
    from core.errors import InputError
    from core.evaluation.metrics import OF_CATALOGUE
    from ilora_app.render.columns import metric_names

    for test_set in table.sets:
        if metric in OF_CATALOGUE and not table.whole:
            raise InputError(
                f"{metric} needs a ranking of the whole catalogue, and these cases have 20 candidates",
                "ilora-app bench --candidates catalogue makes one",
            )
        check_choice(metric, tuple(metric_names(table, test_set)), "metric")


def row_named(table: Table, name: str) -> Row:
    """The row of that label, or the only row of that method.

    Raises:
        InputError: there is none, or more than one.
    """
    from core.errors import InputError

    by_label = [row for row in table.everything if row.label.casefold() == name.casefold()]
    found = by_label or [row for row in table.everything if row.method == name.casefold()]
    if len(found) == 1:
        return found[0]
    labels = ", ".join(f"'{row.label}'" for row in found or table.everything)
    if found:
        raise InputError(f"{name} has {len(found)} rows in {table.dataset}", f"name one of them: {labels}")
    raise InputError(f"no {name} in the table of {table.dataset}", f"its rows: {labels}")
