"""Controls stand in a group of their own, beside the row that they ask, and compete with nobody."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

from rich.console import Console

from core.evaluation.statistics import holm
from core.methods import control_methods
from core.results.controls import against_base, base_of
from core.results.format import Result
from core.results.tables import Table, group_tables
from ilora_app.render import text_tables
from ilora_app.render.export import table_record, tables_csv
from ilora_app.render.leaderboard import Leaderboard
from tests.made_up import LLM, cases, five_methods, result


def control(name: str, strength: float, asked: Result) -> Result:
    return result(name, cases=cases(strength, seed=len(name)), config=asked.config, **LLM)


FIVE = five_methods()
(ILORA,) = (made for made in FIVE if made.method == "ilora")
STRENGTHS = dict(zip(control_methods(), (0.9, 0.1, 0.4, 0.3, 0.45), strict=True))


def table(*more: Result) -> Table:
    (found,) = group_tables([*FIVE, *more])
    return found


CONTROLLED = table(*(control(name, strength, ILORA) for name, strength in STRENGTHS.items()))


def test_a_control_that_is_better_than_every_row_is_neither_the_best_nor_one_of_the_pairs() -> None:
    plain = table()
    assert CONTROLLED.rows == plain.rows
    assert CONTROLLED.best("spread") is CONTROLLED.rows[0]
    assert [pair.p_holm for pair in CONTROLLED.pairs("spread")] == [
        pair.p_holm for pair in plain.pairs("spread")
    ]
    assert tuple(row.method for row in CONTROLLED.controls) == control_methods()


def test_each_control_is_compared_with_the_row_of_its_own_settings_and_corrected_over_the_controls() -> None:
    other = dataclasses.replace(ILORA, config={**ILORA.config, "rank": 32})
    found = table(other, control("mean-gate", 0.4, ILORA), control("swapped-gate", 0.3, other))
    mean, swapped = found.controls
    assert [base_of(found, row).first.config for row in (mean, swapped)] == [  # type: ignore[union-attr]
        ILORA.config, other.config,
    ]  # fmt: skip
    pairs = against_base(found, "spread")
    assert [pair.p_holm for pair in pairs] == holm([pair.found.p for pair in pairs])
    assert pairs[1].found == found.compare(swapped, pairs[1].b, "spread")


def test_controls_without_the_row_that_they_ask_are_shown_without_a_comparison() -> None:
    lonely = [control("mean-gate", 0.4, ILORA)]
    (alone,) = group_tables(lonely)
    assert [row.method for row in alone.rows] == ["mean-gate"]
    (beside,) = group_tables([*lonely, FIVE[0]])
    assert not against_base(beside, "spread")
    text_table = text_tables.controls(beside, "spread")
    assert text_table is not None and text_table.rows[0][3:5] == ("–", "–")


def test_every_output_shows_the_controls() -> None:
    for width in (80, 120):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(Leaderboard(CONTROLLED))
        text = console.export_text()
        assert max(map(len, text.splitlines())) <= width
        text = " ".join(text.split())
        assert "Controls on spread" in text and "Holm over the controls" in text
        for label in ("Shuffled history", "No history", "Mean gate", "Swapped gate", "Cluster gate"):
            assert label in text
    record = json.loads(json.dumps(table_record(CONTROLLED)))
    assert [entry["method"] for entry in record["controls"]] == list(control_methods())
    assert record["controls"][1]["against"]["spread"]["row"] == "ilora"
    assert record["controls"][1]["against"]["spread"]["difference"] < 0
    lines = csv.DictReader(io.StringIO(tables_csv([CONTROLLED], {})))
    assert {line["method"] for line in lines} >= {*control_methods(), "ilora"}
