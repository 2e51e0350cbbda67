"""`ilora-app evaluate --clusters`: what it costs when a few adapters serve everybody."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ilora_app.cli.saying import say_json

if TYPE_CHECKING:
    from core.runs.store import RunInfo


def say_few_gates(info: RunInfo, clusters: str, precision: str, as_json: bool) -> None:
    """Opens a run, ranks its validation and test cases with its own gates and with few, and prints a table.

    Raises:
        InputError: the run has no gate, or the numbers cannot be used.
        Interrupted: stopped.
    """
    from core.benchmark.few_gates import ask_few_gates  # torch is imported here
    from core.runs.exporting_clusters import check_clusters
    from core.runs.store import open_run
    from core.stages import Watch
    from ilora_app.cli.stopping import stoppable
    from ilora_app.render.few_gates import print_few_gates
    from ilora_app.render.progress import ProgressView

    counts = _numbers(clusters)
    for count in counts:
        check_clusters(count)
    with ProgressView() as view, stoppable() as should_stop:
        opened = open_run(info.path, view, precision, should_stop)
        found = ask_few_gates(opened, counts, Watch(view, should_stop, info.method, info.seed))
    if as_json:
        say_json({"run": str(info.path), "rows": [asdict(row) for row in found]})
    else:
        print_few_gates(info, found)


def _numbers(text: str) -> list[int]:
    """Numbers between commas, each once, in order.

    Raises:
        InputError: something is no number.
    """
    from core.errors import InputError

    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise InputError(f"--clusters is {text!r}", "give numbers such as 1,4,16,64") from error
