"""More than accuracy: what a table's methods recommend, from the ranking files on disk.

Rankings of the whole catalogue only: among sampled candidates, the draw decides what can stand in a list,
and among cold items what was drawn to be cold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.data.types import Place, pool_of
from core.errors import InputError, ResultError
from core.evaluation.exposure import COVERAGE, GINI, estimate_exposure
from core.evaluation.lists import (
    NOTHING,
    Lists,
    genre_table,
    mean_over,
    miscalibration,
    overlap,
    popularity_ranks,
    self_information,
    similarity,
)
from core.evaluation.statistics import Estimate, bootstrap, bootstrap_ratio
from core.results.controls import base_of
from core.results.format import Result
from core.results.item_facts import ItemFacts, load_item_facts
from core.results.rankings import RankingFile, load_rankings, rankings_path
from core.results.store import result_path
from core.results.tables import Row, Table
from core.stages import UNWATCHED, Stage, Watch

TOP = 10
"""Places of a ranking that count as its list, unless told otherwise."""
RANK, POPULARITY, LIFT = "popularity_rank", "popularity", "popularity_lift"
NOVELTY, SIMILARITY, MISCALIBRATION = "novelty", "genre_similarity", "genre_miscalibration"


@dataclass(frozen=True)
class Measure:
    """A figure of recommended lists; no direction is better by itself."""

    key: str
    """Its name in files."""
    label: str
    """Its name at the head of a column."""
    about: str
    """What it is, and what its ends mean."""
    source: str
    """Whose definition it is."""


MEASURES: dict[str, Measure] = {
    measure.key: measure
    for measure in (
        Measure(
            COVERAGE,
            "Coverage",
            "share of the catalogue that stands in any list; it grows with the number of cases",
            "Elliot 0.3.1, ItemCoverage, over the items",
        ),
        Measure(
            GINI,
            "Exposure Gini",
            "how unevenly attention falls on the catalogue's items: 0 on all alike, 1 on one alone",
            "LensKit 2025.8.1, ExposureGini",
        ),
        Measure(
            RANK,
            "Popularity rank",
            "mean share of the trained items that are no more popular than a listed one: 1 the most popular",
            "LensKit 2025.8.1, MeanPopRank by interactions",
        ),
        Measure(
            POPULARITY,
            "Popularity",
            "mean number of training interactions of a listed item",
            "Elliot 0.3.1, ARP",
        ),
        Measure(
            LIFT,
            "Popularity lift, %",
            "by how much listed items are more popular than those of the histories",
            "Abdollahpouri et al. 2020, of ARP",
        ),
        Measure(
            NOVELTY,
            "Novelty",
            "mean self-information of a listed item, in bits: rare ones have more",
            "Elliot 0.3.1, item novelty of EFD",
        ),
        Measure(
            SIMILARITY,
            "Genre similarity",
            "mean cosine of the genres of two items of a list: 1 all alike, 0 nothing in common",
            "LensKit 2026.4.0, ILS",
        ),
        Measure(
            MISCALIBRATION,
            "Genre miscalibration",
            "Kullback-Leibler divergence of a list's genres from its history's, in nats: 0 the same",
            "Steck 2018, alpha .01",
        ),
    )
}
"""Key -> measure, in the order they are shown."""

AGREEMENT = Measure(
    "rbo",
    "RBO",
    "rank-biased overlap of two methods' lists of the same cases: 1 the same items in the same order",
    "LensKit 2025.8.1, rank_biased_overlap, p .85",
)

Found = Mapping[str, Estimate]
"""Measure -> its figure; those that are not defined are left out."""


@dataclass(frozen=True)
class Agreement:
    """How alike the lists of two rows are."""

    a: Row
    b: Row
    found: Estimate


@dataclass(frozen=True)
class SetBeyond:
    """What the rows of a table recommend in one test set."""

    test_set: str
    rows: tuple[tuple[Row, Found], ...]
    """In the table's order, the controls last; rows without a ranking file are left out."""
    histories: Found
    """The figures of the histories that were read, which those of the lists stand beside."""
    agreement: tuple[Agreement, ...]
    """Every two rows, the most alike first; a control beside the row that it asks alone."""


@dataclass(frozen=True)
class Beyond:
    """What the rows of a table recommend."""

    top: int
    """Places of a list."""
    items: int
    """Of the catalogue."""
    sets: tuple[SetBeyond, ...]
    problems: tuple[str, ...]
    """One line for each row that was left out."""


def beyond(table: Table, folders: Sequence[Path], top: int = TOP, watch: Watch = UNWATCHED) -> Beyond:
    """Every measure of every row of a table, with intervals over users and, of several, training seeds.

    Args:
        table: results against the whole catalogue.
        folders: output folders that hold the results and what belongs to them.
        top: places of a list.
        watch: told how far it is.

    Raises:
        InputError: the cases have sampled candidates.
        ResultError: a file is damaged, nothing is known of the items, or no row has a ranking file.
    """
    if not table.whole:
        raise InputError(
            f"what the methods of {table.dataset} list depends on their 20 candidates, drawn at random: "
            "coverage, popularity and genres need rankings of the whole catalogue",
            "ilora-app bench --candidates catalogue makes them",
        )
    sets = [test_set for test_set in table.sets if not pool_of(test_set)]
    if not sets:
        raise InputError(
            f"the set {', '.join(table.sets)} is ranked among some items alone, not the whole catalogue",
            "leave --set out, or name another one",
        )
    facts = _facts_for(folders, table)
    code = {item: place for place, item in enumerate(facts.ids)}
    lists: dict[str, list[tuple[Row, list[Lists]]]] = {test_set: [] for test_set in sets}
    problems = []
    stage = watch.stage("measure", len(table.everything) * (1 + len(sets)))
    for row in table.everything:
        stage.advance()
        runs = [found for run in row.runs if (found := _rankings(folders, run)) is not None]
        if len(runs) < len(row.runs):
            problems.append(f"{row.label}: a result of an older version has no ranking file")
            continue
        made = {name: [_lists(found, code, row.places[name], top) for found in runs] for name in lists}
        if any((one[:, 0] == NOTHING).any() for of_set in made.values() for one in of_set):
            problems.append(f"{row.label}: cases without a scored item")
            continue
        for test_set, of_set in made.items():
            lists[test_set].append((row, of_set))
    kept = [row for row, _ in next(iter(lists.values()))]
    if not kept:
        raise ResultError(problems[0], "run the benchmark again")
    pairs = _pairs(table, kept)
    found_sets = tuple(_of_set(test_set, rows, pairs, facts, stage) for test_set, rows in lists.items())
    return Beyond(top, len(facts.ids), found_sets, tuple(problems))


# --- one test set -----------------------------------------------------------------------------------------


class _Measuring:
    """What all rows of a test set share."""

    def __init__(self, facts: ItemFacts, places: Sequence[Place]) -> None:
        self.users = [user for user, _ in places]
        self.items = len(facts.ids)
        self.by_item = {
            RANK: popularity_ranks(facts.counts),
            POPULARITY: facts.counts,
            NOVELTY: self_information(facts.counts),
        }
        self.table = genre_table(facts.genres)
        self.histories = _padded([facts.histories[place] for place in places])
        self.known = miscalibration(self.histories, self.histories, self.table)

    def of(self, runs: Sequence[Lists]) -> Found:
        """Every measure of a row's lists, (n, k) for each training seed."""
        before = mean_over(self.by_item[POPULARITY], self.histories)
        listed = self._means(POPULARITY, runs)
        lift = bootstrap_ratio(listed, np.broadcast_to(before, listed.shape), self.users)
        found = estimate_exposure(runs, self.users, self.items) | {
            RANK: bootstrap(self._means(RANK, runs), self.users),
            POPULARITY: bootstrap(listed, self.users),
            LIFT: dataclasses.replace(
                lift, value=lift.value - 1, low=lift.low - 1, high=lift.high - 1, n=len(self.users)
            ),
            NOVELTY: bootstrap(self._means(NOVELTY, runs), self.users),
        }
        return found | self._of_genres(runs)

    def of_histories(self) -> Found:
        """Those measures that histories have as well."""
        found = {
            key: bootstrap(self._means(key, [self.histories]), self.users)
            for key in (RANK, POPULARITY, NOVELTY)
        }
        if self.table.shape[1]:
            found[SIMILARITY] = bootstrap(similarity(self.histories, self.table), self.users)
        return found

    def _means(self, key: str, runs: Sequence[Lists]) -> npt.NDArray[np.float64]:
        return np.stack([mean_over(self.by_item[key], lists) for lists in runs])

    def _of_genres(self, runs: Sequence[Lists]) -> dict[str, Estimate]:
        """The measures that need genres; calibration is over the cases whose history has any."""
        if not self.table.shape[1]:
            return {}
        found = {SIMILARITY: bootstrap(np.stack([similarity(one, self.table) for one in runs]), self.users)}
        asked = np.flatnonzero(~np.isnan(self.known))
        if asked.size:
            apart = np.stack([miscalibration(self.histories, one, self.table) for one in runs])
            users = [self.users[place] for place in asked]
            found[MISCALIBRATION] = bootstrap(apart[:, asked], users)
        return found


def _of_set(
    test_set: str,
    lists: Sequence[tuple[Row, list[Lists]]],
    pairs: Sequence[tuple[Row, Row]],
    facts: ItemFacts,
    stage: Stage,
) -> SetBeyond:
    places = lists[0][0].places[test_set]
    if unknown := [place for place in places if place not in facts.histories]:
        raise ResultError(f"nothing is known of the history of case {unknown[0]}", "run the benchmark again")
    measuring = _Measuring(facts, places)
    rows = []
    for row, runs in lists:
        rows.append((row, measuring.of(runs)))
        stage.advance()
    of_row = {row.label: runs for row, runs in lists}
    agreement = [
        Agreement(a, b, bootstrap(_overlaps(a, of_row[a.label], b, of_row[b.label]), measuring.users))
        for a, b in pairs
    ]
    agreement.sort(key=lambda pair: -pair.found.value)
    return SetBeyond(test_set, tuple(rows), measuring.of_histories(), tuple(agreement))


def _overlaps(a: Row, of_a: Sequence[Lists], b: Row, of_b: Sequence[Lists]) -> npt.NDArray[np.float64]:
    """(seeds, n) over the training seeds that both have; over the first of each where they share none."""
    shared = [(a.seeds.index(seed), b.seeds.index(seed)) for seed in a.seeds if seed in b.seeds] or [(0, 0)]
    return np.stack([overlap(of_a[one], of_b[other]) for one, other in shared])


def _pairs(table: Table, rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Every two rows that compete, and every control with the row that it asks."""
    known, own = {row.label for row in rows}, {row.label for row in table.rows}
    competing = [row for row in rows if row.label in own]
    bases = [(base_of(table, row), row) for row in rows if row.label not in own]
    return [*combinations(competing, 2), *((a, b) for a, b in bases if a is not None and a.label in known)]


# --- from disk --------------------------------------------------------------------------------------------


def _facts_for(folders: Sequence[Path], table: Table) -> ItemFacts:
    """What the first folder that has it knows of the items and histories."""
    for folder in folders:
        found = load_item_facts(folder, table.dataset, table.split, table.samples_sha256)
        if found is not None:
            return found
    where = ", ".join(map(str, folders))
    raise ResultError(
        f"nothing is known of the items of {table.dataset} in {where}",
        "run the benchmark again: finished results are reused, what is missing is added",
    )


def _rankings(folders: Sequence[Path], run: Result) -> RankingFile | None:
    """A result's ranking file; None where an older version wrote none."""
    if run.rankings_sha256 is None:
        return None
    files = [result_path(folder, *run.key) for folder in folders]
    return load_rankings(run, next((file for file in files if rankings_path(file).exists()), files[0]))


def _lists(found: RankingFile, code: Mapping[str, int], places: Sequence[Place], top: int) -> Lists:
    """The first places of the rankings of these cases, (n, top)."""
    rows = found.rows()
    lists = np.full((len(places), top), NOTHING, dtype=np.int64)
    listed = (found.rank <= top) & ~np.isnan(found.score)
    for case, place in enumerate(places):
        own = [code[found.item[row]] for row in rows[place] if listed[row]]
        lists[case, : len(own)] = own
    return lists


def _padded(histories: Sequence[Sequence[int]]) -> Lists:
    lists = np.full((len(histories), max(map(len, histories))), NOTHING, dtype=np.int64)
    for row, items in enumerate(histories):
        lists[row, : len(items)] = items
    return lists
