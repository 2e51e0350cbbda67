"""`ilora-app power`: how many users and seeds a paired test needs to see a lift, from results on disk."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ilora_app.cli.choosing import DEFAULT_OUT
from ilora_app.cli.saying import say_json

if TYPE_CHECKING:
    from core.evaluation.power import Variances
    from core.results.tables import Row, Table

SEEDS = (1, 2, 3, 5, 10)


def power(
    lift: Annotated[
        str, typer.Option(metavar="PERCENT", help="The lift that a test should see, such as 5%.")
    ] = "5%",
    dataset: Annotated[str | None, typer.Option(help="This dataset's results only.")] = None,
    compare: Annotated[
        tuple[str, str] | None, typer.Option(help="Two methods, the second is the base. [ilora lora]")
    ] = None,
    metric: Annotated[str, typer.Option(help="Metric of the test.")] = "HR@1",
    out: Annotated[
        list[Path] | None, typer.Option(help="Folder that `ilora-app bench` wrote to; give several. [runs]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Say how many users and seeds a paired test needs to see a lift, from the ranks of finished runs."""
    from core.errors import ResultError
    from core.results.power import power_of
    from ilora_app.cli.results import check_metric, tables_of

    wanted = _share(lift)
    folders = out or [DEFAULT_OUT]
    tables, _ = tables_of(folders, dataset, None, None, None)
    found: list[tuple[Table, Row, Row, str, Variances]] = []
    for table in tables:
        pair = _pair(table, compare)
        if pair is None:
            continue
        check_metric(table, metric)
        found += [(table, *pair, name, power_of(table, *pair, name, metric)) for name in table.sets]
    if not found:
        where = ", ".join(map(str, folders))
        raise ResultError(
            f"no table in {where} has both an iLoRA and a LoRA run the same way",
            "run them, or name two methods: --compare sasrec popularity",
        )
    if as_json:
        say_json({"lift": wanted, "pairs": [_record(*entry, metric, wanted) for entry in found]})
        return
    from ilora_app.render.power import text_table
    from ilora_app.render.terminal import print_text_table

    for table, row, base, test_set, variances in found:
        print_text_table(text_table(table, row, base, test_set, metric, variances, wanted, SEEDS))


def _share(lift: str) -> float:
    """A percentage as a share: .05 for 5%, 5 or 5 %."""
    from core.errors import InputError

    try:
        percent = float(lift.strip().removesuffix("%"))
    except ValueError:
        percent = math.nan
    if not 0 < percent <= 1000:
        raise InputError(f"--lift is {lift[:40]!r}", "give a percentage above zero, such as --lift 5%")
    return percent / 100


def _pair(table: Table, names: tuple[str, str] | None) -> tuple[Row, Row] | None:
    """The rows that are asked about; iLoRA and LoRA run the same way where none are named."""
    from core.errors import InputError
    from ilora_app.cli.results import row_named

    if names is None:
        return table.gated_pair()
    row, base = (row_named(table, name) for name in names)
    if row is base:
        raise InputError(f"{row.label} cannot be compared with itself", "name two methods")
    return row, base


def _record(
    table: Table, row: Row, base: Row, test_set: str, variances: Variances, metric: str, lift: float
) -> dict[str, Any]:
    """One pair as plain values; what is not known is null."""
    return {
        "dataset": table.dataset,
        "split": table.split,
        "set": test_set,
        "metric": metric,
        "rows": [row.label, base.label],
        "base": variances.base,
        "users": variances.users,
        "seeds": variances.seeds,
        "variance": {
            "user": variances.by_user,
            "seed": None if math.isnan(variances.by_seed) else variances.by_seed,
            "rest": variances.rest,
        },
        "could_have_seen": variances.detectable(),
        "users_needed": {str(seeds): variances.users_for(lift, seeds) for seeds in _askable(variances)},
    }


def _askable(variances: Variances) -> tuple[int, ...]:
    """Numbers of seeds that can be told about: with one seed measured, one."""
    return SEEDS if variances.seeds > 1 else (1,)
