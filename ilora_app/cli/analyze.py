"""`ilora-app analyze`: negative transfer in a run, what its experts are for, and who gains by them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from core.config.bounds import CLUSTERS, WINDOWS
from ilora_app.cli.options import Precision
from ilora_app.cli.saying import say, say_json


def analyze(
    run: Annotated[Path, typer.Argument(help="Run folder of LoRA or iLoRA, below runs/models.")],
    against: Annotated[
        Path | None, typer.Option(help="The other method's run; found beside the run if left out.")
    ] = None,
    clusters: Annotated[int, typer.Option(help=f"Groups of users. \\[{CLUSTERS}]")] = 8,
    windows: Annotated[
        int, typer.Option(help=f"Training windows per group behind a gradient. \\[{WINDOWS}]")
    ] = 32,
    metric: Annotated[
        str, typer.Option(help="Metric in which a user's gain is measured, such as HR@1.")
    ] = "MRR",
    precision: Precision = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Explain a run: which users' gradients conflict, what each expert does, which users gain.

    Tables go to the terminal, plots and figures to analysis/RUN beside the results, for the report.
    """
    from core.analysis.analyze import Settings
    from core.analysis.analyze import analyze as look_into
    from core.analysis.record import record
    from core.config.checks import check_choice
    from core.evaluation.metrics import METRICS
    from ilora_app.cli.stopping import stoppable
    from ilora_app.render.console import SafeConsole
    from ilora_app.render.progress import ProgressView

    check_choice(metric, tuple(METRICS), "metric")
    settings = Settings(clusters, windows, metric)
    with ProgressView(SafeConsole(stderr=True)) as view, stoppable() as should_stop:
        found = look_into(run, against, settings, view, should_stop, precision)
    values = record(found)
    from ilora_app.render.analysis import lines, plots_of, text_tables_of

    folder = _keep(run, values, plots_of(found))
    if as_json:
        say_json(values)
        return
    from ilora_app.render.terminal import print_text_table

    for line in lines(values):
        say(line)
    for text_table in text_tables_of(values):
        print_text_table(text_table)
    say(f"plots: {folder}")


def _keep(run: Path, values: dict[str, object], plots: dict[str, str]) -> Path:
    """Writes the figures and plots below the output folder, and returns their folder.

    Raises:
        ResultError: it cannot be written.
    """
    from core.errors import ResultError
    from core.files import atomic_write
    from ilora_app.render.charts import standalone

    folder = run.resolve().parent.parent / "analysis" / run.resolve().name
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    try:
        for name, svg in plots.items():
            atomic_write(folder / name, standalone(svg))
        atomic_write(folder / "analysis.json", text)
    except OSError as error:
        raise ResultError(f"cannot write {folder}: {error.strerror}", "check its permissions") from error
    return folder
