"""`ilora-app tui`: opens the terminal interface, or offers it to a browser on this machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ilora_app.cli.choosing import DEFAULT_OUT, choose_run
from ilora_app.cli.options import Precision
from ilora_app.cli.saying import say

if TYPE_CHECKING:
    from textual.driver import Driver


def tui(
    out: Annotated[Path, typer.Option(help="Folder that `ilora-app bench` wrote to.")] = DEFAULT_OUT,
    dataset: Annotated[str, typer.Option(help="Dataset to show where there is no run yet.")] = "movielens",
    run: Annotated[
        str | None,
        typer.Option(
            help="Run to open: a folder, part of its name, or demo; the newest iLoRA run if left out."
        ),
    ] = None,
    theme: Annotated[
        str | None, typer.Option(help="dark, light or contrast; what tui.toml says if left out.")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Offer it in a browser on this machine.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port for --serve.")] = 8000,
    connect: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Show the run of a server that `ilora-app serve` started; nothing is loaded here.",
        ),
    ] = None,
    open_: Annotated[
        str | None, typer.Option("--open", help="View to begin with: a file, or the name it was kept under.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Record what is drawn into this file, as an asciicast.")
    ] = None,
    precision: Precision = "auto",
) -> None:
    """Show a user's history, the weights of the experts and the ranking, live in the terminal."""
    from core.config.checks import check_choice
    from core.config.choices import PRECISIONS
    from core.errors import InputError
    from ilora_app.tui.preferences import THEMES, load
    from ilora_app.tui.state.views import read

    check_choice(precision, PRECISIONS, "precision")
    if theme is not None and theme not in THEMES:
        raise InputError(f"unknown theme: {theme}", f"choose one of: {', '.join(THEMES)}")
    preferred = load()
    theme = theme or preferred.theme
    view = read(open_) if open_ is not None else None
    if view is not None:
        dataset = view.dataset
        run = run or (view.run if view.run and Path(view.run).is_dir() else None)
    if run is not None:
        run = str(choose_run(run, out).path)
    if serve and record:
        raise InputError("a browser's sessions are not recorded", "give --record without --serve")
    if serve and open_:
        raise InputError("--open is for a terminal", "in the browser O opens a kept view")
    if connect is not None:
        given = {"--run": run is not None, "--serve": serve, "--open": open_ is not None}
        given |= {"--precision": precision != "auto"}
        for option in (name for name, is_given in given.items() if is_given):
            raise InputError(
                f"--connect and {option} exclude each other", "the server has opened its own run"
            )
        _attach(connect, out, THEMES[theme], record)
        return
    if serve:
        _check_port(port)
        _serve(out, dataset, run, theme, port, precision)
        return
    _check_terminal()
    from ilora_app.tui.engine.ahead import start_ahead

    ahead = start_ahead(precision)  # the screen's libraries are imported while it starts
    from ilora_app.tui.app import IloraTui
    from ilora_app.tui.engine.client import engine_in

    try:
        with _recording(record) as driver:
            make = engine_in(precision, ahead)
            IloraTui(out, dataset, run, THEMES[theme], make, precision, driver, view).run()
    finally:
        if ahead.poll() is None:  # it was never taken
            ahead.kill()


def _attach(address: str, out: Path, theme: str, record: Path | None) -> None:
    """The screen on the run of a server.

    Raises:
        InputError: it is no address, nobody answers there, or something else or another version.
    """
    from ilora_app.tui.engine.attached import attached_to, find_server, server_of

    server = find_server(server_of(address))
    _check_terminal()
    from ilora_app.tui.app import IloraTui

    with _recording(record) as driver:
        make = attached_to(server.url)
        IloraTui(out, server.dataset, None, theme, make, driver_class=driver, attached=server.url).run()


@contextmanager
def _recording(record: Path | None) -> Iterator[type[Driver] | None]:
    """What draws, and keeps what it draws in this file; None for the terminal's own where there is none."""
    if record is None:
        yield None
        return
    from ilora_app.tui.recording import Cast, driver_of_this_machine, recorded

    cast = Cast(record)
    try:
        yield recorded(driver_of_this_machine(), cast)
    finally:
        cast.close()
        say(f"recorded: asciinema play {shlex.quote(str(record))}", err=True)


def _check_terminal() -> None:
    """Raises `InputError` where nobody is to be drawn for; a browser's session has a terminal of its own."""
    import os
    import sys

    from core.errors import InputError

    if "TEXTUAL_DRIVER" not in os.environ and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError(
            "tui needs a terminal, and this is none",
            "with docker give -it; ilora-app tui --serve draws in a browser",
        )


def _check_port(port: int) -> None:
    """Raises `InputError` where a browser could not reach this port."""
    import socket

    from core.errors import InputError

    hint = "choose another one with --port"
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("localhost", port))
    except OSError as error:
        raise InputError(f"port {port} cannot be used: {error.strerror}", hint) from error


def _serve(out: Path, dataset: str, run: str | None, theme: str, port: int, precision: str) -> None:
    """One program per browser tab, reachable from this machine only and with the printed token only."""
    from core.errors import InputError
    from ilora_app.starting import AGAIN
    from ilora_app.tui.browser import LocalServer

    command = [*AGAIN, "tui", "--out", str(out), "--dataset", dataset]
    command += ["--theme", theme, "--precision", precision] + (["--run", run] if run else [])
    server = LocalServer(shlex.join(command), port)
    say(f"open {server.address} in a browser; Ctrl-C ends it", err=True)
    try:
        server.serve()
    except OSError as error:
        raise InputError(
            f"cannot listen on port {port}: {error.strerror}", "choose another --port"
        ) from error
