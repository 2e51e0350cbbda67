"""`ilora-app evaluate`: ranks the test cases with a saved run: do its stated figures come out here, too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ilora_app.cli.choosing import DEFAULT_OUT
from ilora_app.cli.options import Precision
from ilora_app.cli.saying import say_json

if TYPE_CHECKING:
    from core.benchmark.evaluate import Evaluation


def evaluate(
    run: Annotated[
        str | None, typer.Argument(help="Run folder or part of its name; the newest iLoRA run if left out.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that `bench` or `train` wrote to.")] = DEFAULT_OUT,
    clusters: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,…",
            help="Instead, measure what is lost when only N adapters serve all users, such as 1,4,16,64.",
        ),
    ] = None,
    precision: Precision = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Rank the test cases with a saved run, and check the figures that it states."""
    from ilora_app.cli.choosing import choose_run
    from ilora_app.cli.stopping import stoppable

    info = choose_run(run, out)
    if clusters is not None:
        from ilora_app.cli.clusters import say_few_gates

        say_few_gates(info, clusters, precision, as_json)
        return
    from core.benchmark.evaluate import evaluate_run  # torch is imported here
    from ilora_app.render.evaluation import print_evaluation
    from ilora_app.render.progress import ProgressView

    with ProgressView() as view, stoppable() as should_stop:
        found = evaluate_run(info.path, view, should_stop, precision)
    if as_json:
        say_json(record(found))
    else:
        print_evaluation(record(found))


def _stated(found: Evaluation, test_set: str, metric: str) -> float | None:
    value = found.stated.get(test_set, {}).get(metric)
    return value.value if value else None


def record(found: Evaluation) -> dict[str, Any]:
    """The evaluation as plain values."""
    info = found.info
    return {
        "run": str(info.path),
        "dataset": info.dataset,
        "split": info.split,
        "method": info.method,
        "seed": info.seed,
        "samples_sha256": info.samples_sha256,
        "agrees": found.agrees,
        "cases": found.cases,
        "cases_ranked_otherwise": found.moved,
        "seconds": found.seconds,
        "sets": {
            name: {
                "n": next(iter(values.values())).n,
                "users": found.users[name],
                "metrics": {
                    metric: {
                        "value": value.value,
                        "low": value.low,
                        "high": value.high,
                        "n": value.n,
                        "stated": stated.value
                        if (stated := found.stated.get(name, {}).get(metric))
                        else None,
                    }
                    for metric, value in values.items()
                },
            }
            for name, values in found.metrics.items()
        },
    }
