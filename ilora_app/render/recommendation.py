"""One user's recommendations in the terminal: history, gate as bars, the ranking with the target marked."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from ilora_app.render.console import SafeConsole
from ilora_app.render.figures import method_name

BAR = 24
EIGHTHS = " ▏▎▍▌▋▊▉█"


def print_recommendation(record: dict[str, Any]) -> None:
    """Prints what `ilora-app recommend --json` would give, for people."""
    console = SafeConsole()
    who = f"user {record['user']} of {record['dataset']} ({record['part']} user)"
    if record["user"] is None:
        who = f"your own history in {record['dataset']}"
    console.print(Text.assemble((who, "bold"), f" · {record['method']}, seed {record['seed']}"))
    console.print(Text("\nHistory, oldest first", style="bold"))
    for item in record["history"]:
        console.print(Text.assemble("  ", item["title"], (f"  {', '.join(item['tags'])}", "dim")))
    if record["gate"] is not None:
        console.print(Text("\nExpert weights of this history", style="bold"))
        if record["omega"] != record["gate"]:
            console.print(Text("  as pushed or locked; the gate itself says " + figures(record["gate"])))
        for number, weight in enumerate(record["omega"], start=1):
            console.print(Text.assemble(f"  {number}  ", (bar(weight), "cyan"), f" {weight:.2f}"))
    console.print()
    console.print(_ranking(record))
    if record["target"] is not None:
        console.print(
            Text(f"▶ what user {record['user']} chose next: {record['target']['title']}", style="dim")
        )
    console.print(Text(f"run: {record['run']} · {record['milliseconds']:.0f} ms", style="dim"))


def figures(weights: list[float]) -> str:
    """Weights in one line."""
    return ", ".join(f"{weight:.2f}" for weight in weights)


def bar(share: float, width: int = BAR) -> str:
    """A horizontal bar for a share between 0 and 1, in eighths of a character, padded to `width`."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (EIGHTHS[rest] if rest else "")).ljust(width)


def _ranking(record: dict[str, Any]) -> Grid:
    others = list(record["ranking"][0]["other_ranks"])
    encoder, count = method_name(record["encoder"]), record["candidates"]
    titles = {
        "benchmark": f"Ranking of the benchmark's {count} candidates",
        "catalogue": f"Ranking of {encoder}'s best {count} candidates",
        "raised": f"Ranking of the {count} candidates that {encoder} raises most",
    }
    grid = Grid(title=titles[record["from"]], box=box.SIMPLE, title_justify="left")
    for column, side in (("", "left"), ("#", "right"), ("title", "left"), ("score", "right")):
        grid.add_column(column, justify=side, overflow="ellipsis", no_wrap=column != "title")  # type: ignore[arg-type]
    retrieved = record["from"] != "benchmark"  # then the score that chose the candidates is of interest too
    if retrieved:
        grid.add_column("encoder", justify="right", no_wrap=True)
    for other in others:
        grid.add_column(f"# {other}", justify="right", style="dim")
    for row in record["ranking"]:
        grid.add_row(
            "▶" if row["target"] else "",
            str(row["rank"]),
            row["title"],
            f"{row['score']:.2f}",
            *([f"{row['encoder_score']:.2f}"] if retrieved else []),
            *(str(row["other_ranks"][other]) for other in others),
            style="bold" if row["target"] else "",
        )
    return grid
