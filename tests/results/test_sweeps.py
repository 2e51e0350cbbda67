"""Rows by a setting: each method's row at each value, and what the gate gains there."""

from __future__ import annotations

import pytest

from core.errors import ResultError
from core.results.format import Result
from core.results.sweeps import sweep_over, sweeps
from core.results.tables import Table, group_tables
from ilora_app.render import text_tables
from ilora_app.render.report import sections
from tests.made_up import result

USERS = ("data", "users")
READS = {
    "popularity": ("data",),
    "lora": ("data", "model", "adapter"),
    "ilora": ("data", "model", "adapter"),
}


def made(method: str, users: int = 0, rank: int = 16, seed: int = 0) -> Result:
    """A result whose config holds what the method reads, as the benchmark writes it."""
    parts = {"data": {"dataset": "movielens"}, "model": {"name": "m"}, "adapter": {"rank": rank}}
    if users:
        parts["data"]["users"] = users  # what says nothing is left out
    config = {part: parts[part] for part in READS[method]}
    return result(method, seed=seed, config=config)


def table_of(*results: Result) -> Table:
    (table,) = group_tables(results)
    return table


@pytest.fixture(scope="module")
def users() -> Table:
    return table_of(*(made(method, users) for method in READS for users in (100, 0, 25, 50)))


def test_values_ascend_and_all_users_come_last(users: Table) -> None:
    found = sweep_over(users, USERS)
    assert found.words == ("25", "50", "100", "all")
    for method, rows in found.rows.items():
        assert [row and row.method for row in rows] == [method] * 4
        assert [row and row.first.config["data"].get("users", 0) for row in rows] == [25, 50, 100, 0]


def test_at_each_value_the_gate_is_held_against_its_own_counterpart(users: Table) -> None:
    found = sweep_over(users, USERS)
    gains = found.gains(users, "spread")
    for at, pair in enumerate(gains):
        assert pair is not None
        assert (pair.a, pair.b) == (found.rows["ilora"][at], found.rows["lora"][at])
        assert pair.found == users.compare(pair.a, pair.b, "spread")
        assert pair.p_holm >= pair.found.p


def test_a_method_that_does_not_read_the_setting_has_one_row_for_all() -> None:
    ranks = [made(method, rank=rank) for method in ("lora", "ilora") for rank in (2, 4, 8)]
    table = table_of(made("popularity"), *ranks)
    (found,) = sweeps(table)
    assert (found.path, found.values) == (("adapter", "rank"), (2, 4, 8))
    assert len({id(row) for row in found.rows["popularity"]}) == 1
    shown = text_tables.sweep(found, table, "spread", "HR@1")
    assert len(shown.rows) == 3 and all(len(row) == len(shown.columns) for row in shown.rows)
    assert shown.columns[0] == "Rank" and shown.columns[-2] == "iLoRA over LoRA"


def test_without_the_counterpart_nothing_is_said_of_a_gain() -> None:
    table = table_of(*(made("ilora", users) for users in (25, 50)))
    shown = text_tables.sweep(sweep_over(table, USERS), table, "spread", "HR@1")
    assert shown.columns == ("Users", "iLoRA") and [row[0] for row in shown.rows] == ["25", "50"]


def test_a_report_shows_the_sweep_as_a_table_and_a_curve(users: Table) -> None:
    (section,) = sections([users], [], {})
    titles = [getattr(block, "title", "") for block in section.blocks]
    assert titles.count("HR@1 on spread by users") == 2


def test_a_setting_in_which_nothing_differs_or_not_alone_is_refused(users: Table) -> None:
    with pytest.raises(ResultError, match="differ in rank"):
        sweep_over(users, ("adapter", "rank"))
    both = table_of(*(made("ilora", users, rank) for users, rank in ((25, 2), (25, 4), (50, 4))))
    with pytest.raises(ResultError, match="have the same users"):
        sweep_over(both, USERS)
