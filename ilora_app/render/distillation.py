"""What a student keeps of its teacher, in the terminal: hits, how alike both rank, and what both cost."""

from __future__ import annotations

from rich.text import Text

from core.evaluation.metrics import HEADLINE
from core.results.format import Result
from core.runs.compare import compare_runs
from ilora_app.render import figures
from ilora_app.render.console import SafeConsole


def print_kept(student: Result, teacher: Result) -> None:
    """Prints the student's hits beside its teacher's in every test set, and what its result says of both.

    Raises:
        ResultError: the two met other cases.
    """
    console = SafeConsole()
    for test_set, found in compare_runs(student, teacher).items():
        own, other = (side.metrics[test_set][HEADLINE].value for side in (student, teacher))
        compared = found[HEADLINE]
        share = f", {100 * own / other:.0f} % of it" if other else ""
        console.print(
            Text(
                f"{test_set}: {HEADLINE} {figures.share(own)}, its teacher's {figures.share(other)}{share}; "
                f"difference {figures.points(compared.difference)} points "
                f"{figures.ends(compared.low, compared.high)}, {figures.p_value(compared.p)}"
            )
        )
    for note in student.notes:
        console.print(Text(note, style="dim"))
