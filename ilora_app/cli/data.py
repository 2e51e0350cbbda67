"""`ilora-app data`: lists datasets, fetches one, writes its cases for others to check, adds one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ilora_app.cli.saying import say, say_json

if TYPE_CHECKING:
    from core.data.cards import DatasetCard
    from core.data.own.adding import Added
    from core.data.own.guessing import Guess
    from core.data.tables import InteractionsTable, ItemsTable
    from core.data.types import Catalogue, Dataset, Sample, Samples

SETS = ("test", "validation")


class _ShowByDefault(TyperGroup):
    """`data NAME` means `data show NAME`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts `show` first where no subcommand is named."""
        if not args or args[0] not in (*self.commands, "--help", "-h"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ShowByDefault,
    help="List the datasets; with a name, fetch one and show it. Add your own.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("show")
def show(
    name: Annotated[
        str | None, typer.Argument(help="Dataset to fetch and show: a name, or the path of a card.")
    ] = None,
    samples: Annotated[
        str | None, typer.Option(help="Write these cases to --out: test or validation.", metavar="SET")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File for the cases, one JSON object a line.")] = None,
    split: Annotated[str, typer.Option(help="paper, leave-one-out or temporal.")] = "paper",
    samples_seed: Annotated[int, typer.Option(help="Seed with which the candidates are drawn.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """List the datasets; with a name, fetch one and show it."""
    _check_options(name, samples, out)
    if name is None:
        _list(as_json)
    elif samples is not None and out is not None:
        _write_samples(name, samples, out, split, samples_seed, as_json)
    else:
        _show(name, samples_seed, as_json)


def _check_options(name: str | None, samples: str | None, out: Path | None) -> None:
    from core.errors import InputError

    if (samples is None) != (out is None):
        raise InputError(
            "--samples and --out belong together", "ilora-app data NAME --samples test --out FILE"
        )
    if samples is None or out is None:
        return
    if name is None:
        raise InputError("--samples needs a dataset", "ilora-app data NAME --samples test --out FILE")
    if samples not in SETS:
        raise InputError(f"unknown set: {samples}", f"choose one of: {', '.join(SETS)}")
    _check_writable(out)


def _check_writable(out: Path) -> None:
    """Refuses an output that cannot become a file, before any work is done for it."""
    import os

    from core.errors import InputError

    if out.is_dir():
        raise InputError(f"--out is a folder: {out}", f"name a file in it, such as {out / 'cases.jsonl'}")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"--out cannot be written: {out}", f"{parent} is not a folder that can be written")


# --- one's own -------------------------------------------------------------------------------------------


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What to call it: small letters, digits and '-'.")],
    interactions: Annotated[
        Path,
        typer.Option(
            help="CSV, TSV, JSON lines, parquet or .inter, also packed; or a folder of a known kind."
        ),
    ],
    items: Annotated[
        Path | None, typer.Option(help="The items' ids and titles; not needed with a folder.")
    ] = None,
    user_column: Annotated[
        str | None, typer.Option(help="Column of the user's id: its name, or its number from 0.")
    ] = None,
    item_column: Annotated[str | None, typer.Option(help="Column of the item's id.")] = None,
    rating_column: Annotated[str | None, typer.Option(help="Column of the rating.")] = None,
    time_column: Annotated[str | None, typer.Option(help="Column of the time.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column of the item's id in the items' file.")] = None,
    title_column: Annotated[str | None, typer.Option(help="Column of the title in the items' file.")] = None,
    min_rating: Annotated[
        float | None, typer.Option(help="Lower ratings count as seen, but not as chosen.")
    ] = None,
    noun: Annotated[str, typer.Option(help='What one item is, such as "book".')] = "item",
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of the text, such as utf-8, cp1252 or latin-1.")
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(
            help="What separates columns: a character, ::, tab or space; used for each file that has it."
        ),
    ] = None,
    quoting: Annotated[
        str | None,
        typer.Option(help='What " means: none (a letter), double ("" within) or backslash (\\" within).'),
    ] = None,
    header: Annotated[
        str | None,
        typer.Option(help="Which files begin with names of columns: both, interactions, items or none."),
    ] = None,
    no_header: Annotated[
        bool, typer.Option("--no-header", help="No file begins with names of columns.")
    ] = False,
    time_format: Annotated[
        str | None,
        typer.Option(
            help="Format of the times: seconds, milliseconds, …, date, or a pattern such as %d/%m/%Y."
        ),
    ] = None,
    drop_unlisted: Annotated[
        bool, typer.Option("--drop-unlisted", help="Leave out interactions with items that are not listed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Add your own files as a dataset, and show how they were read."""
    from core.data.own.adding import add_dataset, check_name
    from core.data.own.guessing import guess
    from core.data.own.looking import Said
    from core.errors import InputError

    check_name(name)
    given = {
        "user": user_column,
        "item": item_column,
        "rating": rating_column,
        "timestamp": time_column,
        "id": id_column,
        "title": title_column,
        "time_format": time_format,
    }
    if no_header and header is not None:
        raise InputError("--header and --no-header exclude each other", "give one of them")
    said = Said(encoding, separator, quoting, "no" if no_header else header)
    found = guess(
        interactions, items, {key: value for key, value in given.items() if value is not None}, said=said
    )
    if not as_json:
        for line in _guessed(found):
            say(line)
    added = add_dataset(name, found, noun, min_rating, drop_unlisted=drop_unlisted)
    if as_json:
        record = {
            **_record(added.card),
            "card": str(added.path),
            "guessed": _guessed(found),
            "left_out": added.left_out,
        }
        say_json(record, indent=2)
    else:
        _say_added(added)


@app.command("remove")
def remove(name: Annotated[str, typer.Argument(help="A dataset that you added.")]) -> None:
    """Forget a dataset of your own; your files stay."""
    from core.data.own.adding import remove_dataset

    remove_dataset(name)
    say(f"forgot {name}; your files are where they were")


def _guessed(found: Guess) -> list[str]:
    """What the files were taken for, one line each."""
    items = found.items
    lines = [f"taken for: {found.kind}"]
    if found.windows is not None:
        lines.append(f"windows: {found.windows.train}, padding {found.windows.padding}")
    elif found.interactions is not None:
        table = found.interactions
        rating = "none" if table.rating is None else repr(table.rating)
        dated = table.timestamp is not None
        time = f"{table.timestamp!r} ({table.time_format})" if dated else "order of lines"
        lines.append(
            f"{table.file}: {_layout(table)}; user {table.user!r}, item {table.item!r}, "
            f"rating {rating}, time {time}"
        )
    lines.append(f"{items.file}: {_layout(items)}; id {items.id!r}, title {items.title!r}")
    if found.rules.repeats == "first":
        lines.append("an item counts when a user first had it")
    return [*lines, *(f"note: {note}" for note in found.notes)]


def _layout(table: InteractionsTable | ItemsTable) -> str:
    """How a file is written; what is usual is not said."""
    if table.format in ("jsonl", "parquet"):
        return table.format
    said = [f"{table.separator!r} between columns", f"{'with' if table.header else 'no'} header"]
    said += ["impressions"] if table.format == "impressions" else []
    said += [f"quotes with {'backslashes' if table.escaped else 'doubling'}"] if table.quoted else []
    said += [table.encoding] if table.encoding != "utf-8" else []
    return ", ".join(said)


def _say_added(added: Added) -> None:
    expected, name = added.card.expected, added.card.name
    say(
        f"added {name}: {expected.users:,} users, {expected.items:,} items, "
        f"{expected.interactions:,} interactions, of which {expected.kept:,} make the sequences"
    )
    if added.left_out:
        say(f"left out: {added.left_out:,} interactions with items that {added.card.name} does not list")
    split = "" if added.card.split else " --split leave-one-out"
    say(f"card: {added.path}")
    say(f"next: ilora-app bench --dataset {name}{split}")


# --- listing ---------------------------------------------------------------------------------------------


def _list(as_json: bool) -> None:
    from core.data.card_files import known_cards

    cards, problems = known_cards()
    rows = [_record(card) for card in cards]
    for problem in problems:
        say(f"left out: {problem}", err=True)
    if as_json:
        say_json({"datasets": rows}, indent=2)
        return
    from ilora_app.render.console import SafeConsole
    from ilora_app.render.tables import datasets_table

    SafeConsole().print(datasets_table(rows))


def _record(card: DatasetCard) -> dict[str, Any]:
    """What is known of a dataset without reading it; `bytes` is what it takes, or would take to fetch."""
    from dataclasses import asdict

    from core.assets import cache

    stored = cache.find(card.asset)
    to_fetch = sum(file.size for file in card.sources[0].files)
    return {
        "name": card.name,
        "title": card.title,
        "description": card.description,
        "homepage": card.homepage,
        "citation": card.citation,
        "licence": asdict(card.licence),
        "cached": stored is not None,
        "source": stored.source if stored else None,
        "path": str(card.asset.folder),
        "bytes": stored.size if stored else to_fetch,
        "users": card.expected.users,
        "items": card.expected.items,
        "interactions": card.expected.interactions,
        "kept": card.expected.kept,
    }


# --- one dataset -----------------------------------------------------------------------------------------


def _load(name: str) -> tuple[DatasetCard, Dataset]:
    from core.data.card_files import load_card
    from core.data.loading import load_dataset
    from ilora_app.render.downloads import Downloads

    card = load_card(name)
    with Downloads() as downloads:
        return card, load_dataset(card, downloads)


def _show(name: str, seed: int, as_json: bool) -> None:
    card, dataset = _load(name)
    splits = list(_split_records(card, dataset, seed))
    row = {**_record(card), "sequence_lengths": _lengths(dataset), "splits": splits}
    if as_json:
        say_json(row, indent=2)
        return
    from ilora_app.render.console import SafeConsole
    from ilora_app.render.tables import dataset_details

    SafeConsole().print(dataset_details(row))


def _lengths(dataset: Dataset) -> dict[str, int]:
    lengths = sorted(len(sequence.items) for sequence in dataset.sequences.values())
    return {"shortest": lengths[0], "median": lengths[len(lengths) // 2], "longest": lengths[-1]}


def _split_records(card: DatasetCard, dataset: Dataset, seed: int) -> Iterator[dict[str, Any]]:
    """What every split gives that the data can be divided by."""
    from core.data.samples import make_samples
    from core.errors import InputError

    for split in card.splits:
        try:
            yield _split_record(make_samples(dataset, card, split, seed))
        except InputError:
            if split != "temporal":  # times that are all the same show only here
                raise


def _split_record(samples: Samples) -> dict[str, Any]:
    return {
        "split": samples.split,
        "samples_seed": samples.seed,
        "train": len(samples.train),
        "validation": len(samples.validation),
        "test": {name: len(cases) for name, cases in samples.test.items()},
        "samples_sha256": samples.sha256,
    }


# --- writing cases ---------------------------------------------------------------------------------------


def _write_samples(name: str, which: str, out: Path, split: str, seed: int, as_json: bool) -> None:
    from core.data.samples import make_samples
    from core.errors import InputError
    from core.files import atomic_write

    card, dataset = _load(name)
    samples = make_samples(dataset, card, split, seed)
    lines = _case_lines(samples, which, dataset.catalogue)
    try:
        atomic_write(out, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise InputError(f"--out cannot be written: {out}", error.strerror or str(error)) from error
    if as_json:
        record = {
            **_split_record(samples),
            "dataset": card.name,
            "set": which,
            "cases": len(lines),
            "path": str(out),
        }
        say_json(record, indent=2)
    else:
        say(f"{len(lines):,} {which} cases of {card.name} in {out} (checksum {samples.sha256[:12]})")


def _case_lines(samples: Samples, which: str, catalogue: Catalogue) -> list[str]:
    """One line of JSON per case; a case of several test sets is written once and names them all."""
    cases: dict[Sample, list[str]] = {}
    groups = samples.test if which == "test" else {"validation": samples.validation}
    for name, members in groups.items():
        for case in members:
            cases.setdefault(case, []).append(name)
    ordered = sorted(cases.items(), key=lambda entry: (len(entry[0].user), entry[0].user, entry[0].position))
    return [json.dumps(_case(case, sets, catalogue), ensure_ascii=False) for case, sets in ordered]


def _case(case: Sample, sets: list[str], catalogue: Catalogue) -> dict[str, Any]:
    def named(item: int) -> dict[str, str]:
        return {"id": catalogue.ids[item], "title": catalogue.titles[item]}

    return {
        "sets": sets,
        "user": case.user,
        "position": case.position,
        "history": [named(item) for item in case.history],
        "target": named(case.target),
        "candidates": [named(item) for item in case.candidates],
    }
