"""`ilora-app tui`: opens the terminal interface, or offers it to a browser on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ilora_app.cli.choosing import DEFAULT_OUT, choose_run

THEMES = {"dark": "ilora-dark", "light": "ilora-light", "contrast": "ilora-contrast"}


def tui(
    out: Annotated[Path, typer.Option(help="Folder that `ilora-app bench` wrote to.")] = DEFAULT_OUT,
    dataset: Annotated[str, typer.Option(help="Dataset to show where there is no run yet.")] = "movielens",
    run: Annotated[
        str | None,
        typer.Option(
            help="Run to open: a folder, part of its name, or demo; the newest iLoRA run if left out."
        ),
    ] = None,
    theme: Annotated[str, typer.Option(help="dark, light or contrast.")] = "dark",
    serve: Annotated[bool, typer.Option("--serve", help="Offer it in a browser on this machine.")] = False,
    port: Annotated[int, typer.Option(help="Port for --serve.")] = 8000,
) -> None:
    """Pick a user, see the gate think, watch the ranking move."""
    from core.errors import InputError

    if theme not in THEMES:
        raise InputError(f"unknown theme: {theme}", f"choose one of: {', '.join(THEMES)}")
    if not serve:
        _check_terminal()
    if run is not None:
        run = str(choose_run(run, out).path)
    if serve:
        _check_port(port)
        _serve(out, dataset, run, theme, port)
        return
    from ilora_app.tui.app import IloraTui

    IloraTui(out, dataset, run, THEMES[theme]).run()


def _check_terminal() -> None:
    """Raises `InputError` where there is nobody to see the screen, or nothing to type with."""
    import os
    import sys

    from core.errors import InputError

    in_browser = "TEXTUAL_DRIVER" in os.environ  # then another program draws what is written
    if not in_browser and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError(
            "the terminal interface needs a terminal", "run it in one, or --serve it to a browser"
        )


def _check_port(port: int) -> None:
    """Raises `InputError` where a browser could not reach this port."""
    import socket

    from core.errors import InputError

    hint = "choose another one with --port"
    if not 1 <= port <= 65535:
        raise InputError(f"{port} is no port", "give 1 to 65535")
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("localhost", port))
    except OSError as error:
        raise InputError(f"port {port} cannot be used: {error.strerror}", hint) from error


def _serve(out: Path, dataset: str, run: str | None, theme: str, port: int) -> None:
    """One program per browser tab, reachable from this machine only."""
    import shlex
    import sys

    from textual_serve.server import Server

    command = [sys.executable, "-m", "ilora_app", "tui", "--out", str(out), "--dataset", dataset]
    command += ["--theme", theme] + (["--run", run] if run else [])
    typer.echo(f"open http://localhost:{port} in a browser; Ctrl-C ends it", err=True)
    Server(shlex.join(command), host="localhost", port=port, title="iLoRA").serve()
