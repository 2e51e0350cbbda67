"""`ilora-app export --users`: many users' folded adapters as one store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ilora_app.cli.saying import say, say_json
from ilora_app.render.figures import size

if TYPE_CHECKING:
    from core.runs.exporting_clusters import ExportedClusters
    from core.runs.store import RunInfo

ALL = "all"


def export_many(
    info: RunInfo, out: Path, users: str, clusters: int | None, precision: str, as_json: bool
) -> None:
    """Opens a run, writes the adapters of all users or of those in a file, and says what was written.

    With a number of clusters so few adapters are written for all of them.

    Raises:
        InputError, DataError, ResultError: what `export_users` and `export_clusters` raise.
        Interrupted: stopped; the same command goes on from there.
    """
    from core.errors import InputError
    from core.runs.exporting import check_destination
    from core.runs.exporting_clusters import ExportedClusters as Clusters
    from core.runs.exporting_clusters import check_clusters, export_clusters
    from core.runs.exporting_users import ExportedUsers, export_users
    from core.runs.store import open_run
    from core.stages import Watch
    from ilora_app.cli.stopping import stoppable
    from ilora_app.render.progress import ProgressView

    check_destination(out)
    if clusters is not None:
        check_clusters(clusters)
    histories = None if users == ALL else Path(users)
    if histories is not None and not histories.is_file():
        raise InputError(f"no file {histories}", f"give {ALL}, JSON lines, or a file that ends in .parquet")
    with ProgressView() as view, stoppable() as should_stop:
        opened = open_run(info.path, view, precision, should_stop)
        watch = Watch(view, should_stop, info.method, info.seed)
        written: ExportedUsers | Clusters
        if clusters is None:
            written = export_users(opened, out, histories, watch)
        else:
            written = export_clusters(opened, out, clusters, histories, watch)
    if as_json:
        say_json({"run": str(info.path), **asdict(written), "folder": str(written.folder)})
        return
    if isinstance(written, Clusters):
        _say_clusters(written, info.path)
    else:
        say(f"{out}: adapters of {written.users:,} users, rank {written.rank}, {size(written.bytes)}")
    if written.unknown:
        say(f"{written.unknown:,} items of histories are not in the catalogue, and were passed over")
    if written.left_out:
        say(f"{written.left_out:,} users have no known item, and no adapter")


def _say_clusters(written: ExportedClusters, run: Path) -> None:
    count, most, least = len(written.adapters), max(written.users), min(written.users)
    say(f"{written.folder}: {count} adapters for {sum(written.users):,} users, rank {written.rank}")
    say(f"{size(written.bytes)}; {least:,} to {most:,} users each. index.json says who gets which.")
    say(f"ilora-app evaluate {run} --clusters {count} says what so few cost beside one for each user")
