"""`ilora-app export`: a run's adapter, or one user's, as a plain LoRA folder for peft and servers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ilora_app.cli.choosing import DEFAULT_OUT
from ilora_app.cli.options import Precision
from ilora_app.cli.saying import say, say_json

if TYPE_CHECKING:
    from core.runs.exporting import Exported


def export(
    out: Annotated[Path, typer.Option(help="Folder to write; it must not exist yet, or be empty.")],
    run: Annotated[
        str | None, typer.Argument(help="Run folder or part of its name; the newest iLoRA run if left out.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            help="User whose gate is folded in; if left out, the whole adapter with a uniform gate."
        ),
    ] = None,
    position: Annotated[
        int | None,
        typer.Option(help="Fold the history before this item of the user's sequence; the last if left out."),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(help="Largest rank, 16 if left out; what a cut loses is printed."),
    ] = None,
    users: Annotated[
        str | None,
        typer.Option(help="Write many users' adapters as one store: all, or a file of histories."),
    ] = None,
    clusters: Annotated[
        int | None,
        typer.Option(metavar="N", help="With --users: N adapters for all of them, by clusters of gates."),
    ] = None,
    experts: Annotated[
        bool,
        typer.Option("--experts", help="Write each expert as a LoRA of its own, and the gate as a file."),
    ] = False,
    form: Annotated[
        str | None,
        typer.Option("--format", help="With --experts: peft (the default) or gguf, for llama.cpp."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder that `bench` or `train` wrote to.")] = DEFAULT_OUT,
    push_to_hub: Annotated[
        str | None, typer.Option(help="Upload the folder to this repository of the model hub.")
    ] = None,
    precision: Precision = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Write one user's adapter, the whole one, or all experts, as plain LoRAs that peft and servers load."""
    from core.errors import InputError
    from ilora_app.cli.choosing import choose_run
    from ilora_app.cli.stopping import stoppable
    from ilora_app.render.progress import ProgressView

    if position is not None and user is None:
        raise InputError("--position needs a user", "give --user ID, or leave --position out")
    if rank is not None and rank < 1:
        raise InputError(f"--rank is {rank}", "give 1 or more")
    if form is not None and not experts:
        raise InputError("--format is for --experts", "add --experts, or leave --format out")
    if (experts or users) and not (user is None and rank is None and push_to_hub is None):
        raise InputError(
            f"{'--experts' if experts else '--users'} is for many users",
            "leave --user, --position, --rank and --push-to-hub out",
        )
    if clusters is not None and users is None:
        raise InputError("--clusters is for --users", "add --users all, or leave --clusters out")
    if experts and users:
        raise InputError("--experts and --users are two exports", "give one of them at a time")
    info = choose_run(run, runs)
    if users is not None:
        from ilora_app.cli.export_users import export_many

        export_many(info, out, users, clusters, precision, as_json)
        return
    if experts:
        from ilora_app.cli.experts import export_all_experts

        export_all_experts(info, out, form or "peft", precision, as_json)
        return
    from core.lm.loading import resolve_model
    from core.runs.exporting import check_destination, export_adapter  # torch is imported here
    from core.runs.store import open_run
    from core.stages import Watch

    check_destination(out)
    with ProgressView() as view, stoppable() as should_stop:
        opened = open_run(info.path, view, precision, should_stop)
        exported = export_adapter(opened, out, user, position, rank)
        base = resolve_model(info.config.model, Watch(view, should_stop))
    address = None
    if push_to_hub is not None:
        from core.assets.hub import push_folder

        address = push_folder(out, push_to_hub)
    if as_json:
        found = {"run": str(info.path), **asdict(exported), "folder": str(out), "base_folder": str(base)}
        say_json({**found, "hub": address})
    else:
        _say(exported, base, address)


def _say(exported: Exported, base: Path, address: Any) -> None:
    from core.runs.exporting import size_in_words

    whose = (
        "the whole adapter, uniform gate" if exported.user is None else f"the adapter of user {exported.user}"
    )
    say(f"{exported.folder}: {whose}. {size_in_words(exported)}")
    if exported.omega:
        say(f"expert weights: {' '.join(f'{weight:.2f}' for weight in exported.omega)}")
    say(f"base model: {exported.base_model}, on this machine in {base}")
    if address:
        say(f"hub: {address}")
