"""What a training is asked for: the values it takes, what it costs, and what has to be fetched for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from core.serving.protocol import AssetListed, Estimated
from ilora_app.render.figures import size
from ilora_app.tui.state.app_state import about


def wrong_number(text: str) -> str:
    """What is wrong with a number of samples."""
    return "" if text.isdecimal() and int(text) > 0 else "a whole number, 1 or more"


def wrong_model(text: str) -> str:
    """What is wrong with a model, as far as can be seen without fetching it."""
    if not text:
        return "a name or a path"
    path = Path(text).expanduser()
    if text.startswith(("/", ".", "~")) and not path.exists():
        return f"there is no {path}"
    if path.suffix == ".gguf" and not path.is_file():
        return f"there is no file {path}"
    if path.is_dir() and not (path / "config.json").is_file():
        return f"{path} holds no config.json"
    return ""


def cost_table(found: Estimated) -> Table:
    """Time and memory of a plan, and what they were estimated for."""
    memory = size(found.memory_bytes) if found.memory_bytes else "unknown"
    facts = {
        "time": about(found.minutes),
        "memory": f"{memory}, {found.memory_basis}" if found.memory_bytes else found.memory_basis,
        "preset": found.why or found.preset,
        "here": found.hardware,
        "cases": ", ".join(f"{n:,} {name}" for name, n in found.cases.items()),
    }
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, fact in facts.items():
        table.add_row(name, Text(fact, style="bold" if name in ("time", "memory") else ""))
    return table


def consent(found: Estimated | None, missing: Sequence[AssetListed]) -> str:
    """What a training takes, and what has to be fetched for it: from where, how much, under which licence."""
    lines = ["How long it takes is not known yet."]
    if found is not None:
        memory = size(found.memory_bytes) if found.memory_bytes else "an unknown amount"
        lines = [f"It takes {about(found.minutes)} and {memory} of memory. It goes on without this screen."]
    for asset in missing:
        lines += [
            "",
            f"{asset['title']} will be fetched: {size(asset['bytes'])} from {asset['source']}",
            f"licence: {asset['licence']}. {asset['terms']}".rstrip(),
        ]
    return "\n".join(lines)


WRONG = {"model": wrong_model, "samples": wrong_number}
