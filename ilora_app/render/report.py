"""The report of an output folder: what its results say, in blocks that become a page, a text or plots."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from core import safe_text
from core.data.cards import DatasetCard
from core.data.types import Place
from core.errors import DataError, ResultError
from core.evaluation.metrics import HEADLINE, RETRIEVED, VALID_RATIO, metrics_for
from core.files import atomic_write
from core.ilora.experts import one_sidedness
from core.records import json_of, read_text
from core.results.breakdown import DIMENSIONS, groups
from core.results.case_facts import CaseFacts
from core.results.format import Result
from core.results.merging import experts_for, facts_for
from core.results.sweeps import sweeps
from core.results.tables import Table
from ilora_app.render import analysis, analysis_charts, beyond, charts, columns, figures, text_tables, trials
from ilora_app.render.blocks import Block, Code, Heading, More, Plot, Section, Words
from ilora_app.render.export import tables_csv
from ilora_app.render.leaderboard import Leaderboard, about_set
from ilora_app.render.reported import ReportedRow, reported_for, unmatched
from ilora_app.render.text_tables import TextTable

CURVE_METRIC = HEADLINE


def sections(
    tables: Sequence[Table], folders: Sequence[Path], cards: Mapping[str, DatasetCard | None]
) -> list[Section]:
    """The report's content, one section per table."""
    made = []
    for table in tables:
        card = cards.get(table.dataset)
        title = f"{card.title if card else table.dataset} · {table.split} split"
        made.append(Section(title, tuple(_blocks(table, folders, card.reported if card else ()))))
    return made


def write_report(
    tables: Sequence[Table],
    folders: Sequence[Path],
    cards: Mapping[str, DatasetCard | None],
    problems: Sequence[str],
    out: Path,
) -> list[Path]:
    """Writes `report.html`, `report.md`, `results.jsonl` and `results.csv` whole, and returns their paths.

    Args:
        tables: what to report.
        folders: output folders that hold the results and what belongs to them.
        cards: dataset -> card, where there is one.
        problems: a line for each file that was left out.
        out: where the files go.

    Raises:
        ResultError: a file beside the results is damaged.
        OSError: the folder cannot be written.
    """
    from ilora_app.render.markdown import as_markdown
    from ilora_app.render.page import as_html

    content = sections(tables, folders, cards)
    reported: dict[str, Sequence[ReportedRow]] = {name: card.reported for name, card in cards.items() if card}
    texts = {
        "results.jsonl": "".join(
            f"{_line(run)}\n" for table in tables for row in table.everything for run in row.runs
        ),
        "results.csv": tables_csv(tables, reported),
        "report.md": as_markdown(content, problems),
        "report.html": as_html(content, problems),
    }
    return [atomic_write(out / name, text) for name, text in texts.items()]


def _line(run: Result) -> str:
    """A result without its cases, on one line; the cases are in the result's own file."""
    record: dict[str, Any] = {key: value for key, value in asdict(run).items() if key != "cases"}
    return json.dumps(record | {"config_sha256": run.config_sha256}, ensure_ascii=False, allow_nan=False)


# --- one table ---------------------------------------------------------------------------------------------


def _blocks(table: Table, folders: Sequence[Path], reported: Sequence[ReportedRow]) -> Iterator[Block]:
    reported = columns.beside(table, reported)
    board = Leaderboard(table, reported)
    for test_set in table.sets:
        if line := board.headline(test_set):
            yield Words(f"{line.plain} ({test_set})", strong=True)
            if seen := board.power(test_set):
                yield Words(seen.plain)
    if extra := board.extra():
        yield Words(f"{extra.plain}.")
    for test_set, n in table.sets.items():
        users = len(set(table.rows[0].users(test_set)))
        what = about_set(table, test_set)
        yield Heading(f"Test set {test_set}")
        yield Words(f"{figures.plural(n, 'case')} of {figures.plural(users, 'user')}{what}.")
        yield text_tables.scores(table, test_set, reported)
        yield _by_method(table, test_set, reported)
        if (asked_otherwise := text_tables.controls(table, test_set)) is not None:
            yield asked_otherwise
    if late := columns.lateness(table):
        yield Words(f"{late}.")
    yield from (Words(f"{head}: {line}.") for head, line in columns.withheld(table))
    yield from beyond.blocks(table, folders)
    yield from _published(table, reported)
    yield Heading("What it costs")
    yield text_tables.costs(table)
    yield from _swept(table)
    yield from trials.blocks(table, folders)
    yield from _over_time(table)
    yield from _curves(table)
    yield from _experts(table, folders)
    yield from _analyses(table, folders)
    yield from _where(table, facts_for(folders, table))
    yield from _pairs(table)
    yield from _provenance(table)


def _labels(table: Table) -> list[tuple[str, str]]:
    return [(text_tables.name(row), charts.colour(row.method)) for row in table.rows]


def _by_method(table: Table, test_set: str, reported: Sequence[ReportedRow]) -> Plot:
    drawn, panels = {*metrics_for(table.whole), VALID_RATIO, RETRIEVED}, []
    for metric in (name for name in columns.metric_names(table, test_set) if name in drawn):
        marks = []
        for row in table.rows:
            found = row.metrics[test_set].get(metric)
            published = reported_for(row.method, reported) if metric == HEADLINE else None
            paper = published.hit_ratio_at_1 if published else None
            marks.append(
                charts.Mark(found.value, found.low, found.high, paper) if found else charts.Mark(None)
            )
        panels.append(charts.Panel(metric, tuple(marks)))
    note = "Bars: 95 % interval, users resampled with all their cases."
    if reported:
        note += (
            " Hollow diamonds: reported by the paper, under another protocol and backbone, not measured here."
        )
    title = f"Metrics by method on {test_set}"
    return Plot(title, charts.intervals(_labels(table), panels, title), note)


def _published(table: Table, reported: Sequence[ReportedRow]) -> Iterator[Block]:
    rest = unmatched((row.method for row in table.rows), reported)
    if rest:
        words = "; ".join(f"{row.method} {figures.share(row.hit_ratio_at_1)}" for row in rest)
        sources = "; ".join(dict.fromkeys(row.source for row in reported))
        yield Words(f"Also reported, not measured here ({HEADLINE}): {words}. Source: {sources}")


def _over_time(table: Table) -> Iterator[Block]:
    test_set = next(iter(table.sets))
    points = []
    for row in table.rows:
        found = row.metrics[test_set].get(CURVE_METRIC)
        if found is not None:
            seconds = row.timing("train_seconds") or None
            dot = (
                text_tables.name(row),
                charts.colour(row.method),
                seconds,
                found.value,
                found.low,
                found.high,
            )
            points.append(charts.Dot(*dot))
    if any(point.x is not None for point in points):
        title = f"{CURVE_METRIC} on {test_set} against training time"
        svg = charts.dots(points, "training time (logarithmic)", CURVE_METRIC, title)
        note = "Bars: 95 % interval. Dashed: methods that do not train. Mean time over seeds."
        yield Plot(title, svg, note)


def _swept(table: Table) -> Iterator[Block]:
    """The headline metric over each number that was swept."""
    test_set = next(iter(table.sets))
    for found in sweeps(table):
        shown = text_tables.sweep(found, table, test_set, HEADLINE)
        yield shown
        drawn = []
        for method, rows in found.rows.items():
            points = [
                (float(value), row.metrics[test_set][HEADLINE])
                for value, row in zip(found.values, rows, strict=True)
                if value > 0 and row is not None and HEADLINE in row.metrics[test_set]
            ]
            name, ink = figures.method_name(method), charts.colour(method)
            ends = tuple((one.low, one.high) for _, one in points)
            drawn.append(charts.Series(name, ink, tuple((at, one.value) for at, one in points), ends=ends))
        label = f"{shown.columns[0].lower()} (logarithmic)"
        svg = charts.lines(drawn, label, HEADLINE, shown.title, log=True)
        yield Plot(shown.title, svg, "Bars: 95 % interval, users resampled with all their cases.")


def _curves(table: Table) -> Iterator[Block]:
    """Validation and training loss against the samples seen, one curve per seed."""
    quality: list[charts.Series] = []
    loss: list[charts.Series] = []
    for row in table.rows:
        for run in row.runs:
            batch = _batch_size(run)
            ink, name = charts.colour(row.method), text_tables.name(row)
            for metric, kept in ((CURVE_METRIC, quality), ("loss", loss)):
                points = tuple(
                    (float(entry["step"] * batch), float(entry[metric]))
                    for entry in run.history
                    if metric in entry and entry.get("step", 0) > 0
                )
                if points:
                    kept.append(charts.Series(name, ink, points))
    if quality:
        yield Heading("How it learns")
        title = f"Validation {CURVE_METRIC} against samples seen"
        svg = charts.lines(quality, "training samples seen (logarithmic)", CURVE_METRIC, title, log=True)
        note = (
            "On validation users only, where checkpoints are chosen. A sample is a window of a training user."
        )
        yield Plot(title, svg, note)
    if loss:
        title = "Training loss against samples seen"
        svg = charts.lines(loss, "training samples seen (logarithmic)", "loss", title, log=True)
        note = "Mean since the last validation. Losses of different objectives have different floors."
        yield Plot(title, svg, note)


def _batch_size(run: Result) -> int:
    """Samples in one step of a run's training; 1 where its settings have none."""
    parts = [run.config.get("training"), *run.config.values()]
    sizes = [part["batch_size"] for part in parts if isinstance(part, dict) and "batch_size" in part]
    return max(1, sizes[0]) if sizes and isinstance(sizes[0], int) else 1


def _experts(table: Table, folders: Sequence[Path]) -> Iterator[Block]:
    """How the gate of each gated run spreads its weights over the test cases."""
    first = True
    for row in table.rows:
        for run in row.runs:
            use = experts_for(folders, run)
            if use is None:
                continue
            if first:
                yield Heading("Expert use")
                first = False
            entropy = 1 - np.array(one_sidedness(use.omega))
            largest = np.bincount(use.omega.argmax(axis=1), minlength=use.omega.shape[1]) / len(use.omega)
            title = f"Expert weights of {text_tables.name(row)}, seed {run.seed}"
            rows = [(f"Expert {k + 1}", use.omega[:, k]) for k in range(use.omega.shape[1])]
            favourite = ", ".join(f"{k + 1}: {100 * share:.0f} %" for k, share in enumerate(largest))
            note = (
                f"{figures.plural(len(use.omega), 'test case')}. "
                "Box: middle half; line: nine tenths; dot: mean. "
                f"Entropy {figures.share(float(entropy.mean()))} of the largest possible "
                f"(± {figures.share(float(entropy.std()), 2)} between cases). Largest weight: {favourite}."
            )
            yield Plot(title, analysis_charts.boxes(rows, "weight", title, charts.colour(row.method)), note)


def _analyses(table: Table, folders: Sequence[Path]) -> Iterator[Block]:
    """What `ilora-app analyze` found out about the table's runs."""
    for row in table.rows:
        for run in row.runs:
            for folder in folders:
                kept = folder / "analysis" / run.key.name
                if (kept / "analysis.json").is_file():
                    yield Heading(f"Analysis of {text_tables.name(row)}, seed {run.seed}")
                    yield from _analysis(kept)
                    break


def _analysis(kept: Path) -> Iterator[Block]:
    try:
        record = json_of(read_text(kept / "analysis.json"), "analysis.json")
        found = analysis.text_tables_of(record)
        titles = {"gradients": found[0].title, "experts": "Expert weights over all users' newest histories"}
        plots = [_plot(path, record, titles) for path in sorted(kept.glob("*.svg"))]
    except _ODD as error:
        raise ResultError(f"{kept} is damaged: {error}", "run ilora-app analyze again") from error
    yield from plots
    yield from found


_ODD = (DataError, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What odd values in a file lead to when they are drawn."""


def _plot(path: Path, record: Mapping[str, Any], titles: Mapping[str, str]) -> Plot:
    drawn = safe_text.svg(read_text(path))
    if not path.stem.startswith("gain-"):
        return Plot(titles.get(path.stem, path.stem), drawn)
    measure = record["gains"][int(path.stem.removeprefix("gain-")) - 1]
    note = f"{figures.plural(measure['n'], 'user')}; dashed: least squares."
    return Plot(f"Gain of iLoRA over LoRA against the {measure['measure']}", drawn, note)


def _where(table: Table, facts: Mapping[Place, CaseFacts] | None) -> Iterator[Block]:
    """Every metric by popularity, history and title."""
    if facts is None:
        return
    yield Heading("Where a method wins")
    deciding = next(iter(table.sets))
    rest: list[Block] = []
    for test_set in table.sets:
        found = groups(facts, table.rows[0].places[test_set])
        for dimension in DIMENSIONS:
            division = text_tables.division(table, test_set, found, dimension)
            if len(division.groups) < 2:  # one group says nothing that the table does not say
                continue
            for metric in columns.metric_names(table, test_set):
                text_table = division.text_table(table, test_set, metric)
                if test_set == deciding and metric == CURVE_METRIC:
                    yield _division_plot(table, division, text_table)
                    yield replace(text_table, title="The same in figures", note="")
                else:
                    rest.append(text_table)
    yield More("Every metric and test set by popularity, history and title", tuple(rest))


def _division_plot(table: Table, division: text_tables.Division, text_table: TextTable) -> Plot:
    panels = []
    for group, of_group in zip(division.groups, division.found, strict=True):
        marks = [of_row.get(CURVE_METRIC) for of_row in of_group]
        drawn = [
            charts.Mark(mark.value, mark.low, mark.high) if mark else charts.Mark(None) for mark in marks
        ]
        panels.append(charts.Panel(f"{group.name}\nn {len(group)}", tuple(drawn)))
    return Plot(
        text_table.title,
        charts.intervals(_labels(table), panels, text_table.title, same=True),
        text_table.note,
    )


def _pairs(table: Table) -> Iterator[Block]:
    if len(table.rows) < 2:
        return
    yield Heading("Every pair of methods")
    rest: list[Block] = []
    deciding = next(iter(table.sets))
    for test_set in table.sets:
        for metric in metrics_for(table.whole):
            found = table.pairs(test_set, metric)
            if not found:
                continue
            text_table = text_tables.pair_rows(found, test_set, metric)
            if test_set == deciding and metric == CURVE_METRIC:
                yield text_table
            else:
                rest.append(text_table)
    yield More("Pairs by every metric and test set", tuple(rest))


def _provenance(table: Table) -> Iterator[Block]:
    """What made it: commands, versions, settings."""
    runs = [run for row in table.everything for run in row.runs]
    yield Heading("What made it")
    yield Code("\n".join(dict.fromkeys(run.command for run in runs if run.command)))
    versions: dict[str, dict[str, None]] = {}
    for run in runs:
        for package, version in run.versions.items():
            versions.setdefault(package, {})[version] = None
    said = ", ".join(f"{package} {' / '.join(found)}" for package, found in versions.items())
    yield Words(f"Versions: {said}.")
    yield Words(
        f"Checksum of the test cases: {table.samples_sha256}. One JSON file per run holds every rank."
    )
    rows = tuple(
        (
            text_tables.name(row),
            str(run.seed),
            run.created,
            run.config_sha256[:8],
            f"results/{run.key.name}.json",
            "; ".join(run.notes) or figures.NONE,
        )
        for row in table.everything
        for run in row.runs
    )
    heads = ("Method", "Seed", "Finished", "Settings", "File", "Notes")
    settings = tuple(
        block
        for row in table.everything
        for block in (Heading(text_tables.name(row)), Code(json.dumps(dict(row.first.config), indent=1)))
    )
    yield TextTable("Runs", heads, rows, words=len(heads))
    yield More("Settings of every method", settings)
