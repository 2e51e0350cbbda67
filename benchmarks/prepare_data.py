"""Measures how long ten million interactions take from two files to a dataset's cases, and how much memory.

    python benchmarks/prepare_data.py [--interactions 10000000] [--users 70000] [--items 10000]

Two files are made up first (not counted): CSV with users, items, ratings and times; TSV with titles.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from core.assets.spec import HOME_VARIABLE
from core.data.loading import load_dataset
from core.data.own.adding import add_dataset
from core.data.own.guessing import guess
from core.data.samples import make_samples
from core.events import silent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=70_000)
    parser.add_argument("--items", type=int, default=10_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ[HOME_VARIABLE] = str(Path(folder) / "home")
        ratings, titles = write_files(Path(folder), asked.interactions, asked.users, asked.items)
        measure("add the files as a dataset", lambda: add_dataset("big", guess(ratings, titles, {})))
        dataset = measure("read it again", lambda: load_dataset("big", silent))
        from core.data.card_files import load_card

        samples = measure("make its cases", lambda: make_samples(dataset, load_card("big")))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{len(samples.train):,} training cases; peak memory {peak / 1e9:.2f} GB")


def measure(what, action):  # type: ignore[no-untyped-def]
    started = time.perf_counter()
    found = action()
    print(f"{what}: {time.perf_counter() - started:.1f} s", flush=True)
    return found


def write_files(folder: Path, lines: int, users: int, items: int) -> tuple[Path, Path]:
    """Made-up files, a few hundred thousand lines at a time."""
    draw = np.random.default_rng(0)
    titles = folder / "titles.tsv"
    titles.write_text("item_id\ttitle\n" + "".join(f"{item}\tTitle {item}\n" for item in range(items)))
    ratings = folder / "ratings.csv"
    with ratings.open("w") as sink:
        sink.write("user_id,item_id,rating,timestamp\n")
        for start in range(0, lines, 500_000):
            count = min(500_000, lines - start)
            columns = np.stack(
                [
                    draw.integers(0, users, count),
                    draw.zipf(1.3, count) % items,
                    draw.integers(1, 6, count),
                    draw.integers(1_000_000_000, 1_700_000_000, count),
                ],
                axis=1,
            )
            np.savetxt(sink, columns, fmt="%d", delimiter=",")
    return ratings, titles


if __name__ == "__main__":
    main()
