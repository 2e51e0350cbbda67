"""What a paired test could have seen and what it would need, as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from core.evaluation.power import POWER, Variances
from core.evaluation.statistics import ALPHA
from core.results.tables import Row, Table
from ilora_app.render import figures
from ilora_app.render.text_tables import TextTable, name

ONE_SEED = "One seed was trained: how far seeds differ is not known, so this holds for these trained models."


def text_table(
    table: Table,
    row: Row,
    base: Row,
    test_set: str,
    metric: str,
    variances: Variances,
    lift: float,
    seeds: Sequence[int],
) -> TextTable:
    """Users needed for a lift, by number of training seeds; with one seed measured, for one alone."""
    known = seeds if variances.seeds > 1 else (1,)
    rows = []
    for count in known:
        users = variances.users_for(lift, count)
        needed = "no number is enough" if users is None else f"{users:,}"
        at_hand = figures.signed_percent(variances.detectable(seeds=count))
        rows.append((str(count), needed, at_hand))
    could = figures.signed_percent(variances.detectable())
    measured = f"{figures.plural(variances.users, 'user')}, {figures.plural(variances.seeds, 'seed')}"
    told = (
        f"Measured: {measured}; {name(base)} {figures.share(variances.base)}. It could have seen {could}. "
        f"Paired test by user, {100 * POWER:.0f} % power at p < {figures.share(ALPHA, 2)}."
    )
    wanted = figures.signed_percent(lift)
    heads = ("Seeds", f"Users for {wanted}", f"Seen with {figures.plural(variances.users, 'user')}")
    return TextTable(
        f"{name(row)} over {name(base)}: {metric} on {test_set} of {table.dataset}",
        heads,
        tuple(rows),
        f"{told} {ONE_SEED}" if math.isnan(variances.by_seed) else told,
    )
