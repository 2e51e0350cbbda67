"""`ilora-app distil`: trains a small encoder to rank as a trained adapter does."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from core.config.bounds import bounds_of
from core.config.distillation import DistillationConfig
from ilora_app.cli.choosing import DEFAULT_OUT
from ilora_app.cli.options import Precision
from ilora_app.cli.running import kept_command, run_plan
from ilora_app.cli.saying import say

_BOUNDS = bounds_of(DistillationConfig)
_DEFAULTS = DistillationConfig()


def distil(
    run: Annotated[
        str | None,
        typer.Argument(help="The teacher: a run folder, part of its name, or demo; the newest iLoRA run."),
    ] = None,
    histories: Annotated[
        str | None,
        typer.Option(
            metavar="N|SHARE",
            help=f"Histories of training users that the teacher is asked about: a number "
            f"({_DEFAULTS.histories:,} if left out) or a share such as 0.5. More later go on with fewer.",
        ),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help=f"Candidates for each ({_DEFAULTS.candidates} if left out). \\[{_BOUNDS['candidates']}]",
        ),
    ] = None,
    drawn: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help=f"Share of them that is drawn ({_DEFAULTS.drawn:g} if left out); the others are the best of "
            f"the teacher's encoder. \\[{_BOUNDS['drawn']}]",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="T",
            help=f"What all scores are divided by ({_DEFAULTS.temperature:g} if left out). "
            f"\\[{_BOUNDS['temperature']}]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the student and all results; the teacher's, or runs for the demo."),
    ] = None,
    precision: Precision = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON lines, nothing else.")
    ] = False,
) -> None:
    """Train a SASRec to rank as a trained adapter does, without labels, for a hundredth of the cost."""
    from core.benchmark.distil import Order, bring_results, student_of
    from core.runs.demo import is_demo
    from core.runs.store import run_folder
    from ilora_app.cli.choosing import choose_run
    from ilora_app.render.progress import ProgressView

    info = choose_run(run, out or DEFAULT_OUT)
    beside = info.path.parent.parent if info.path.absolute().parent.name == "models" else DEFAULT_OUT
    place = out or (DEFAULT_OUT if is_demo(info.path) else beside)
    order = Order(place, histories, candidates, drawn, temperature, precision)
    with ProgressView() as view:
        plan = student_of(info, order, kept_command(sys.argv[1:]), view)
    teacher = bring_results(info, plan.config, place)
    results = run_plan(plan, "", as_json)
    if as_json:
        return
    from core.data.card_files import load_card
    from core.results.tables import group_tables
    from ilora_app.render.distillation import print_kept
    from ilora_app.render.leaderboard import print_leaderboards

    student = results[-1]
    print_leaderboards(group_tables([*results, teacher]), {info.dataset: load_card(info.dataset)})
    print_kept(student, teacher)
    folder = run_folder(place, *student.key)
    say(f"run: {folder}")
    say(f"  ilora-app recommend --run {shlex.quote(str(folder))} --user ID")
