"""`ilora-app train`: trains one method from a run file or options, tests it, and keeps it as a run folder."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.config.bounds import SEED
from ilora_app.cli.choosing import DEFAULT_OUT, choose_preset
from ilora_app.cli.options import given_settings, with_run_options
from ilora_app.cli.running import kept_command, run_plan
from ilora_app.cli.saying import say, write_json

if TYPE_CHECKING:
    from core.benchmark.run import Plan
    from core.config.run_file import RunFile
    from core.config.settings import RunConfig


@with_run_options
def train(
    run_file: Annotated[
        Path | None,
        typer.Argument(help="A run's settings as TOML, such as config.toml in a run folder.", metavar="FILE"),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="ilora (the default), lora, sasrec, … as in `bench`.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="quick, standard, paper, or auto (by hardware; the default).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help=f"Training seed; 0 if left out. \\[{SEED}]")] = None,
    out: Annotated[Path, typer.Option(help="Folder for results and models, as for `bench`.")] = DEFAULT_OUT,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write TensorBoard event files into this folder.")
    ] = None,
    push_to_hub: Annotated[
        str | None, typer.Option(help="Upload the run folder to this repository of the model hub.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print events as JSON lines, nothing else.")
    ] = False,
    **given: Any,
) -> None:
    """Train one method and keep it; options override the file, a stopped training goes on where it was."""
    from core.events import Saved
    from core.runs.store import run_folder

    file = _read(run_file, preset)
    plan, notice = _plan(file, method, preset, seed, out, given)
    results = run_plan(plan, notice, as_json, tensorboard)
    folder = run_folder(plan.out, *results[0].key)
    address = None
    if push_to_hub is not None:
        from core.assets.hub import push_folder

        address = push_folder(folder, push_to_hub)
    if as_json:
        if address:
            write_json(Saved("hub", address).to_json())
        return
    from core.data.card_files import load_card
    from core.results.tables import group_tables
    from ilora_app.render.leaderboard import print_leaderboards

    card = load_card(plan.config.data.dataset)
    print_leaderboards(group_tables(results), {card.name: card})
    _say(folder, plan.methods[0], address)


def _read(run_file: Path | None, preset: str | None) -> RunFile:
    from core.config.run_file import RunFile, read_run_file
    from core.errors import InputError

    if run_file is None:
        return RunFile()
    if preset is not None:
        raise InputError("--preset and a run file exclude each other", f"write preset = … into {run_file}")
    return read_run_file(run_file)


def _plan(
    file: RunFile, method: str | None, preset: str | None, seed: int | None, out: Path, given: dict[str, Any]
) -> tuple[Plan, str]:
    """What is to be done, and what to say about the preset.

    Raises:
        InputError: a name or value cannot be used, or the method leaves nothing to keep.
    """
    from core.config.run_file import resolve
    from core.data.loading import check_max_history
    from core.errors import InputError
    from core.methods import METHODS, check_method, method_names

    method = method or file.method or "ilora"
    check_method(method)
    if not METHODS[method].keeps_model:
        kept = method_names(lambda method: method.keeps_model)
        raise InputError(
            f"{method} has no training to keep",
            f"ilora-app bench --methods {method} measures it; train one of: {', '.join(kept)}",
        )
    seed = seed if seed is not None else file.seed or 0
    SEED.check(seed)

    def configs(name: str) -> list[RunConfig]:
        return [resolve(name, file.settings, given_settings(given))]

    chosen, notice = choose_preset(preset or file.preset or "auto", configs, [(method, seed)], out)
    from core.benchmark.run import Plan

    (config,) = configs(chosen)
    check_max_history(file.settings, config.data)
    command = kept_command(sys.argv[1:])
    return Plan(config, (method,), (seed,), out, chosen, command, models=True), notice


def _say(folder: Path, method: str, address: str | None) -> None:
    """Where the run is, and what can be done with it."""
    from core.methods import METHODS

    say(f"run: {folder}")
    if address:
        say(f"hub: {address}")
    say(f"  ilora-app evaluate {shlex.quote(str(folder))}")
    if METHODS[method].has_adapter:
        say(f"  ilora-app export {shlex.quote(str(folder))} --user ID --out DIR")
