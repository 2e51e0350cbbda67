"""An evaluation in the terminal: each figure now, as stated, and whether the two agree."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from ilora_app.render import figures
from ilora_app.render.console import SafeConsole


def print_evaluation(record: dict[str, Any]) -> None:
    """Prints what `ilora-app evaluate --json` would give, for people."""
    console = SafeConsole()
    who = f"{figures.method_name(record['method'])} on {record['dataset']}, seed {record['seed']}"
    console.print(Text(who, style="bold"))
    grid = Grid(box=box.SIMPLE)
    for column in ("test set", "metric"):
        grid.add_column(column)
    for column in ("now [95 %]", "stated", "n"):
        grid.add_column(column, justify="right")
    for name, found in record["sets"].items():
        for metric, value in found["metrics"].items():
            shown = f"{figures.share(value['value'])} {figures.interval(value['low'], value['high'])}"
            grid.add_row(name, metric, shown, figures.share(value["stated"]), f"{value['n']:,}")
    console.print(grid)
    if record["agrees"]:
        console.print(Text("✓ the stated figures come out", style="green"))
    else:
        console.print(
            Text(
                f"✗ the stated figures do not come out: {record['cases_ranked_otherwise']} of "
                f"{record['cases']} cases are ranked otherwise; other hardware or versions change near ties",
                style="yellow",
            )
        )
    console.print(Text(f"run: {record['run']} · {record['seconds']:.0f} s", style="dim"))
