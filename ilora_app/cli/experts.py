"""`ilora-app export --experts`: what is printed about the adapters and the gate that were written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ilora_app.cli.saying import say, say_json
from ilora_app.render.figures import size

if TYPE_CHECKING:
    from core.runs.store import RunInfo


def export_all_experts(info: RunInfo, out: Path, form: str, precision: str, as_json: bool) -> None:
    """Opens a run, writes its experts, and says what was written.

    Raises:
        InputError: the run has not one gate, or the folder cannot be written.
    """
    from core.runs.exporting import check_destination
    from core.runs.exporting_experts import check_experts, export_experts
    from core.runs.store import open_run
    from ilora_app.cli.stopping import stoppable
    from ilora_app.render.progress import ProgressView

    check_destination(out)
    check_experts(info, form)
    with ProgressView() as view, stoppable() as should_stop:
        written = export_experts(open_run(info.path, view, precision, should_stop), out, form)
    if as_json:
        say_json({"run": str(info.path), **asdict(written), "folder": str(written.folder)})
        return
    say(f"{written.folder}: {len(written.experts)} experts of rank {written.rank}, and their gate.")
    say(f"{size(written.bytes)}, for every user. README.md says how a server uses them.")
    if written.missing:
        say(f"the run's own ranking also needs {', '.join(written.missing)}")
        say("  ilora-app train --serveable trains one that a plain server ranks with")
