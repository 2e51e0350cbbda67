"""Measures how long ten million interactions take from two files to a dataset's cases, and how much memory.

    python -m benchmarks.prepare_data [--kinds all] [--interactions 10000000] [--users 70000] [--items 10000]

Two files are made up first (not counted): interactions of each kind asked for, and titles as TSV. Each kind
is read by a process of its own, whose peak of resident memory is printed.
"""

from __future__ import annotations

import argparse
import gzip
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from core.assets.spec import HOME_VARIABLE
from core.hardware import most_memory

CSV = "user_id,item_id,rating,timestamp\n"
Rows = list[tuple[int, int, int, int]]


def _day(second: int, form: str) -> str:
    return time.strftime(form, time.gmtime(second))


def _json(rows: Rows) -> str:
    line = '{"reviewerID": "A%d", "asin": "B%d", "overall": %d.0, "verified": true, "unixReviewTime": %d}\n'
    return "".join(line % row for row in rows)


def _listed(rows: Rows) -> str:
    return _json(rows).replace("\n", ", ")


def _plain(rows: Rows) -> str:
    return "".join(f"{u},{i},{r},{s}\n" for u, i, r, s in rows)


def _dated(form: str) -> Callable[[Rows], str]:
    return lambda rows: "".join(f"{u},{i},{r},{_day(s, form)}\n" for u, i, r, s in rows)


def _quoted(rows: Rows) -> str:
    return "".join(f'"{u}","{i}","{r}","{s}"\n' for u, i, r, s in rows)


def _noted(note: str) -> Callable[[Rows], str]:
    return lambda rows: "".join(f'{u},{i},{r},{s},"{note} {i}"\n' for u, i, r, s in rows)


KINDS: dict[str, tuple[str, str, Callable[[Rows], str]]] = {
    "seconds": ("r.csv", CSV, _plain),
    "iso": ("r.csv", CSV, _dated("%Y-%m-%d %H:%M:%S")),
    "pattern": ("r.csv", CSV, _dated("%d/%m/%Y %H:%M:%S")),
    "json": ("r.jsonl", "", _json),
    "list": ("r.json", "[", _listed),
    "quoted": ("r.csv", '"user_id","item_id","rating","timestamp"\n', _quoted),
    "doubled": ("r.csv", "user_id,item_id,rating,timestamp,note\n", _noted('so ""good"", really')),
    "backslash": ("r.csv", "user_id,item_id,rating,timestamp,note\n", _noted('so \\"good\\", really')),
    "lines": ("r.csv", "user_id,item_id,rating,timestamp,note\n", _noted("two\nlines, or more")),
    "gzip": ("r.csv.gz", CSV, _plain),
    "parquet": ("r.parquet", "", _dated("%Y-%m-%d %H:%M:%S")),
}
"""Kind -> file, first line, and what writes rows of user, item, rating and second."""


def main() -> None:
    """Makes the files, and measures each kind in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kinds", default="all", help=f"all, or some of: {','.join(KINDS)}")
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=70_000)
    parser.add_argument("--items", type=int, default=10_000)
    asked = parser.parse_args()
    for kind in KINDS if asked.kinds == "all" else asked.kinds.split(","):
        with tempfile.TemporaryDirectory() as folder:
            ratings, titles = write_files(Path(folder), kind, asked.interactions, asked.users, asked.items)
            size = ratings.stat().st_size
            print(f"{kind}: {size / 1e6:,.0f} MB", flush=True)
            child = multiprocessing.get_context("spawn").Process(
                target=prepare, args=(Path(folder), ratings, titles)
            )
            child.start()
            child.join()
            if child.exitcode:
                sys.exit(child.exitcode)


def prepare(folder: Path, ratings: Path, titles: Path) -> None:
    """Adds the files, reads them again, and makes the cases."""
    os.environ[HOME_VARIABLE] = str(folder / "home")
    from core.data.card_files import load_card
    from core.data.loading import load_dataset
    from core.data.own.adding import add_dataset
    from core.data.own.guessing import guess
    from core.data.samples import make_samples
    from core.events import silent

    measure("add the files as a dataset", lambda: add_dataset("big", guess(ratings, titles, {})).path)
    print(f"  peak memory so far {most_memory() / 1e9:.2f} GB", flush=True)
    dataset = measure("read it again", lambda: load_dataset("big", silent))
    samples = measure("make its cases", lambda: make_samples(dataset, load_card("big")))
    print(f"  {len(samples.train):,} training cases; peak memory {most_memory() / 1e9:.2f} GB", flush=True)


def measure(what: str, action: Callable[[], Any]) -> Any:
    """What an action gives; says what it took."""
    started, used = time.perf_counter(), time.process_time()
    found = action()
    took, used = time.perf_counter() - started, time.process_time() - used
    print(f"  {what}: {took:.1f} s, of which {used:.1f} s of the processor", flush=True)
    return found


def write_files(folder: Path, kind: str, lines: int, users: int, items: int) -> tuple[Path, Path]:
    """Made-up files, a few hundred thousand lines at a time."""
    name, first, write = KINDS[kind]
    prefix = "B" if kind in ("json", "list") else ""
    titles, ratings = folder / "titles.tsv", folder / name
    rows = "".join(f"{prefix}{item}\tTitle {item}\n" for item in range(items))
    titles.write_text(("asin" if prefix else "item_id") + "\ttitle\n" + rows)
    parts = drawn(lines, users, items)
    if kind == "parquet":
        _write_parquet(ratings, parts)
    else:
        with gzip.open(ratings, "wt", compresslevel=1) if kind == "gzip" else ratings.open("w") as sink:
            sink.write(first)
            for part in parts:
                sink.write(write(part))
            if kind == "list":
                sink.write(_json(next(drawn(1, users, items))) + "]\n")
    return ratings, titles


def drawn(lines: int, users: int, items: int) -> Iterator[Rows]:
    """Rows of user, item, rating and second."""
    draw = np.random.default_rng(0)
    for start in range(0, lines, 500_000):
        count = min(500_000, lines - start)
        columns = [
            draw.integers(0, users, count),
            draw.zipf(1.3, count) % items,
            draw.integers(1, 6, count),
            draw.integers(1_000_000_000, 1_700_000_000, count),
        ]
        yield list(zip(*(column.tolist() for column in columns), strict=True))


def _write_parquet(path: Path, parts: Iterator[Rows]) -> None:
    """Ids as texts, and times as ISO 8601."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("user_id", "item_id", "rating", "timestamp")
    kinds = pa.schema(list(zip(names, (pa.string(), pa.string(), pa.int64(), pa.string()), strict=True)))
    with pq.ParquetWriter(path, kinds) as sink:
        for part in parts:
            rows = [(str(u), str(i), r, _day(s, "%Y-%m-%dT%H:%M:%S")) for u, i, r, s in part]
            columns = (list(column) for column in zip(*rows, strict=True))
            sink.write_table(pa.table(dict(zip(names, columns, strict=True)), schema=kinds))


if __name__ == "__main__":
    main()
