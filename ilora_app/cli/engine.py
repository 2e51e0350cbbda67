"""`ilora-app engine --json`: the warm child that answers a screen's requests, one JSON object a line."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Annotated

import typer

from ilora_app.cli.options import Precision


def engine(
    as_json: Annotated[bool, typer.Option("--json", help="Speak JSON lines; there is no other way.")] = False,
    precision: Precision = "auto",
) -> None:
    """Answer requests on stdin with events on stdout until stdin closes."""
    from core.errors import InputError

    if not as_json:
        raise InputError(
            "the engine speaks JSON lines only", "ilora-app engine --json; people use ilora-app tui"
        )
    from core.events import Event
    from core.serving.server import Inbox, WarmEngine, listen, request_lines

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # at once, also within a long computation: nothing is lost
    # What a library prints must not end up between the answers.
    output = os.dup(sys.stdout.fileno())
    answers = os.fdopen(output, "w", encoding="utf-8", errors="backslashreplace", newline="\n")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    speaking = threading.Lock()

    def emit(event: Event) -> None:
        with speaking:
            try:
                answers.write(event.to_json() + "\n")
                answers.flush()
            except OSError:
                os._exit(0)  # nobody listens any more; files are written whole or not at all

    inbox = Inbox()
    parent = os.getppid()

    def watch() -> None:
        """Ends with the parent, whatever the other threads do; until then what was asked is answered."""
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(0)

    def hear() -> None:
        listen(request_lines(sys.stdin.buffer, emit), inbox, emit)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    threading.Thread(target=hear, name="requests", daemon=True).start()
    WarmEngine(emit, precision).run(inbox)
