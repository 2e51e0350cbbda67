"""`ilora-app runs`: lists the runs on disk, shows one, compares two, removes one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ilora_app.cli.choosing import DEFAULT_OUT
from ilora_app.cli.saying import say, say_json

if TYPE_CHECKING:
    from core.runs.store import RunInfo

app = typer.Typer(
    help="List the runs on disk, show one, compare two, remove one.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
Name = Annotated[str, typer.Argument(help="Run folder or part of its name.")]
Out = Annotated[Path, typer.Option(help="Folder that `bench` or `train` wrote to.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@app.callback(invoke_without_command=True)
def runs(context: typer.Context, out: Out = DEFAULT_OUT, as_json: Json = False) -> None:
    """List the runs on disk, newest first."""
    if context.invoked_subcommand is None:
        list_(out, as_json)


@app.command("list")
def list_(out: Out = DEFAULT_OUT, as_json: Json = False) -> None:
    """List the runs on disk, newest first."""
    from ilora_app.cli.choosing import readable_runs

    rows = [_record(run) for run in readable_runs(out)]
    if as_json:
        _json({"runs": rows})
        return
    from ilora_app.render.console import SafeConsole
    from ilora_app.render.runs import runs_table

    if rows:
        SafeConsole().print(runs_table(rows))
    else:
        say(f"no runs in {out}: ilora-app train makes one")


@app.command()
def show(run: Name, out: Out = DEFAULT_OUT, as_json: Json = False) -> None:
    """Show one run: its figures, settings, size on disk and the command that made it."""
    from core.runs.store import result_of
    from ilora_app.cli.choosing import choose_run

    info = choose_run(run, out)
    result = result_of(info.path)
    record = {
        **_record(info),
        "figures": {
            name: {
                metric: {"value": value.value, "low": value.low, "high": value.high, "n": value.n}
                for metric, value in values.items()
            }
            for name, values in result.metrics.items()
        },
        "config": info.config.to_dict(),
        "files": {path.name: path.stat().st_size for path in sorted(info.path.iterdir())},
        "command": result.command,
        "notes": list(result.notes),
    }
    if as_json:
        _json(record)
        return
    from ilora_app.render.console import SafeConsole
    from ilora_app.render.runs import run_details

    SafeConsole().print(run_details(record))


@app.command()
def compare(first: Name, second: Name, out: Out = DEFAULT_OUT, as_json: Json = False) -> None:
    """Compare two runs on the same cases, and list the settings in which they differ."""
    from dataclasses import asdict

    from core.runs.compare import compare_runs, settings_apart
    from core.runs.store import result_of
    from ilora_app.cli.choosing import choose_run

    a, b = choose_run(first, out), choose_run(second, out)
    compared = compare_runs(result_of(a.path), result_of(b.path))
    record = {
        "runs": [_record(a), _record(b)],
        "settings": settings_apart(a, b),
        "sets": {
            name: {metric: asdict(found) for metric, found in of_set.items()}
            for name, of_set in compared.items()
        },
    }
    if as_json:
        _json(record)
        return
    from ilora_app.render.console import SafeConsole
    from ilora_app.render.runs import print_comparison

    print_comparison(record, SafeConsole())


@app.command()
def remove(
    run: Name,
    out: Out = DEFAULT_OUT,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a run folder; its result stays in the leaderboard."""
    from core.errors import InputError
    from core.runs.store import folder_bytes, remove_run
    from ilora_app.cli.choosing import choose_run
    from ilora_app.render.figures import size as size_of

    info = choose_run(run, out)
    what = f"{info.path} ({info.method}, seed {info.seed}, {size_of(folder_bytes(info.path))})"
    if not yes:
        if not sys.stdin.isatty():
            raise InputError(f"nobody to ask about {info.path}", "give --yes to remove it without asking")
        typer.confirm(f"remove {what}?", abort=True)
    remove_run(info.path)
    say(f"removed {what}")


def _record(run: RunInfo) -> dict[str, Any]:
    from core.methods import LLM_METHODS
    from core.runs.store import folder_bytes

    return {
        "name": run.path.name,
        "path": str(run.path),
        "dataset": run.dataset,
        "split": run.split,
        "method": run.method,
        "seed": run.seed,
        "model": run.config.model.name if run.method in LLM_METHODS else None,
        "created": run.created,
        "samples_sha256": run.samples_sha256,
        "metrics": run.metrics,
        "bytes": folder_bytes(run.path),
    }


def _json(record: dict[str, Any]) -> None:
    say_json(record)
