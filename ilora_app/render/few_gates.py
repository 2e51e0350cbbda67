"""What few adapters cost, in the terminal: a table for each set of cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from ilora_app.render import figures
from ilora_app.render.console import SafeConsole

if TYPE_CHECKING:
    from core.benchmark.few_gates import FewGates
    from core.runs.store import RunInfo


def print_few_gates(info: RunInfo, rows: Sequence[FewGates]) -> None:
    """Prints what `ilora-app evaluate --clusters` found, for people."""
    console = SafeConsole()
    who = f"{figures.method_name(info.method)} on {info.dataset}, seed {info.seed}"
    console.print(Text(f"{who}: few adapters beside each history's own", style="bold"))
    for name in dict.fromkeys(row.set for row in rows):
        own = [row for row in rows if row.set == name]
        told = ": choose the number here" if name == "validation" else ": reports only"
        console.print()
        console.print(Text(f"{name}{told} · {own[0].hits.n:,} cases of {own[0].hits.users:,} users"))
        console.print(_grid(own))
    for line in (
        "first: cases with the same best candidate as under their own gate",
        "pairs: pairs of candidates in the same order as under their own gate",
        "Clusters are made of training histories; no validation or test user takes part.",
    ):
        console.print(Text(line, style="dim"))
    console.print(Text(f"run: {info.path}", style="dim"))


def _grid(rows: Sequence[FewGates]) -> Grid:
    grid = Grid(box=box.SIMPLE, pad_edge=False)
    for column in ("adapters", "HR@1 [95 %]", "change [95 %]", "", "first", "pairs"):
        grid.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        change, p = figures.NONE, figures.NONE
        if (compared := row.against_own) is not None:
            change = f"{_signed(compared.difference)} [{_signed(compared.low)}, {_signed(compared.high)}]"
            p = figures.p_value(compared.p)
        grid.add_row(
            str(row.adapters or "own"),
            f"{figures.share(row.hits.value)} {figures.interval(row.hits.low, row.hits.high)}",
            change,
            p,
            figures.share(row.same_first.value),
            figures.share(row.same_pairs.value),
        )
    return grid


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1)
