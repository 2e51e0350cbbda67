"""Runs and relevance judgements (qrels) of results as other evaluation programs read them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from core.config.checks import check_choice
from core.data.types import pool_of
from core.errors import ResultError
from core.files import atomic_path, atomic_write
from core.results.format import Result
from core.results.rankings import RankingFile
from core.results.store import check_there

FORMATS = ("trec", "parquet", "csv")

Line = tuple[str, str, float]
"""Question, item, and the score or the relevance."""


@dataclass(frozen=True)
class Exported:
    """One test set of one result: what a method answered, and what was right."""

    name: str
    """The result's name and the test set."""
    judged: str
    """What the judgements are called: results of the same cases share them."""
    run: list[Line]
    """Best first within a question; scores fall strictly, for other programs break ties their own way."""
    qrels: list[Line]
    """The target of each question, with relevance 1."""


def exported(result: Result, found: RankingFile) -> list[Exported]:
    """Every test set of a result.

    A question is called USER/POSITION, with spaces and the like as in web addresses. A target without a
    score, which a method never met, is in the judgements alone.

    Args:
        result: for the test sets.
        found: its ranking file.
    """
    made = []
    for test_set in result.metrics:
        rows = found.rows(pool_of(test_set))
        places = [case.place for case in result.cases if case.set == test_set]
        run = [line for place in places for line in _falling(found, rows[place])]
        qrels = [
            (_question(place), quote(found.item[row], safe=""), 1.0)
            for place in places
            for row in rows[place]
            if found.target[row]
        ]
        of_cases = f"{result.dataset}.{result.split}.{result.samples_sha256[:12]}.{test_set}"
        made.append(Exported(f"{result.key.name}.{test_set}", of_cases, run, qrels))
    return made


def write(parts: Sequence[Exported], folder: Path, form: str) -> list[Path]:
    """Writes runs and judgements below a folder and returns their paths.

    Args:
        parts: what is written.
        folder: made where it is missing.
        form: `trec` (the text files of trec_eval), `parquet` or `csv` (with the column names that ranx reads:
            q_id, doc_id and score, and for judgements rel in its place).

    Raises:
        InputError: there is no such format.
        ResultError: the folder cannot be written, or somebody removed files of it meanwhile.
    """
    check_choice(form, FORMATS, "format")
    paths: dict[Path, None] = {}
    try:
        for part in parts:
            if form == "trec":
                run, qrels = folder / f"{part.name}.run", folder / f"{part.judged}.qrels"
                atomic_write(run, _trec_run(part))
                atomic_write(qrels, "".join(f"{asked} 0 {item} 1\n" for asked, item, _ in part.qrels))
            else:
                run, qrels = (folder / f"{name}.{form}" for name in (part.name, f"{part.judged}.qrels"))
                _table(run, form, part.run, "score")
                _table(qrels, form, part.qrels, "rel")
            paths |= {run: None, qrels: None}
    except OSError as error:
        raise ResultError(f"cannot write into {folder}: {error.strerror}", "choose another folder") from error
    check_there(paths, "the same command writes it again")
    return list(paths)


def _falling(found: RankingFile, rows: range) -> Iterator[Line]:
    """A question's lines; an equal score is lowered by the smallest step that 32 bits know."""
    last = np.float32(np.inf)
    for row in rows:
        score = found.score[row]
        if np.isnan(score):
            continue
        last = min(score, np.nextafter(last, np.float32(-np.inf)))
        asked = _question((found.user[row], int(found.position[row])))
        yield asked, quote(found.item[row], safe=""), float(last)


def _question(place: tuple[str, int]) -> str:
    user, position = place
    return f"{quote(user, safe='')}/{position}"


def _trec_run(part: Exported) -> str:
    lines, place, before = [], 0, ""
    for asked, item, score in part.run:
        place = place + 1 if asked == before else 1
        before = asked
        lines.append(f"{asked} Q0 {item} {place} {score:.9g} ilora-app\n")
    return "".join(lines)


def _table(path: Path, form: str, lines: Sequence[Line], value: str) -> None:
    names = ("q_id", "doc_id", value)
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        writer.writerows((asked, item, f"{number:.9g}") for asked, item, number in lines)
        atomic_write(path, text.getvalue())
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = dict(zip(names, zip(*lines, strict=True), strict=True))
    with atomic_path(path) as temporary:
        pq.write_table(pa.table({name: list(column) for name, column in columns.items()}), temporary)
