"""`ilora-app serve`: a run that answers over HTTP, on this machine only unless told."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from core.config.bounds import BATCH, WAITING, Bound
from ilora_app.cli.choosing import DEFAULT_OUT
from ilora_app.cli.options import Precision
from ilora_app.cli.saying import say

PORT = Bound(0, 65535, "the port")
LOOPBACK = ("127.0.0.1", "localhost")


def serve(
    run: Annotated[
        str | None, typer.Argument(help="Run folder or part of its name; the newest iLoRA run if left out.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder that `bench` or `train` wrote to.")] = DEFAULT_OUT,
    port: Annotated[int, typer.Option(help="Port; 0 for any free one.")] = 8723,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than 127.0.0.1 let other machines ask.")
    ] = LOOPBACK[0],
    batch: Annotated[int, typer.Option(help=f"Questions in one forward at most. \\[{BATCH}]")] = 8,
    waiting: Annotated[
        int, typer.Option(help=f"Questions that may wait; more get a 503. \\[{WAITING}]")
    ] = 64,
    screens: Annotated[
        bool,
        typer.Option(
            "--screens",
            help="With --host: let other machines' `tui --connect` in too, which reads all users' histories.",
        ),
    ] = False,
    precision: Precision = "auto",
) -> None:
    """Answer `POST /recommend` with a trained run: a small server for demos and for trying things out."""
    from ilora_app.cli.choosing import choose_run

    BATCH.check(batch)
    WAITING.check(waiting)
    uvicorn = _uvicorn()
    info = choose_run(run, runs)
    with _bound(host, port) as listening:  # before the model is loaded, which takes a while
        from core.serving.batcher import Batcher
        from core.serving.opening import open_session
        from ilora_app.cli.stopping import stoppable
        from ilora_app.render.progress import ProgressView
        from ilora_app.server.app import make_app

        with ProgressView() as view, stoppable() as should_stop:
            session = open_session(info.path, view, precision, should_stop)
            batcher = Batcher(session, batch, waiting)
            is_local = host in LOOPBACK
            application = make_app(batcher, LOOPBACK if is_local else ("*",), screens or is_local)
        address = f"http://{host}:{listening.getsockname()[1]}"
        say(f"{address} answers POST /recommend; /openapi.json says what can be asked; Ctrl-C ends it")
        if screens or is_local:
            say(f"ilora-app tui --connect {address} shows it")
        if not is_local:
            say("whoever reaches this address can ask: there is no password", err=True)
        settings = uvicorn.Config(application, log_level="warning", lifespan="off", timeout_keep_alive=30)
        uvicorn.Server(settings).run(sockets=[listening])
        batcher.close()


def _uvicorn() -> Any:
    """The server's library.

    Raises:
        InputError: it or Starlette is not installed.
    """
    from core.errors import InputError

    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise InputError("serve needs Starlette and uvicorn", "pip install 'ilora-app[serve]'") from error
    return uvicorn


def _bound(host: str, port: int) -> socket.socket:
    """A socket that has this address.

    Raises:
        InputError: something else has it, or it is none of this machine's.
    """
    from core.errors import InputError

    PORT.check(port)
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        reason = error.strerror or error
        raise InputError(f"cannot listen on {host}:{port}: {reason}", "choose another --port") from error
    return made
