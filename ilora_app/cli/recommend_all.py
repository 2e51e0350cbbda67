"""`ilora-app recommend --all-users`: everybody's recommendations as a Parquet file."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ilora_app.cli.saying import say, say_json

if TYPE_CHECKING:
    from core.runs.store import RunInfo
    from core.serving.all_users import Order, Tally


def recommend_all_users(info: RunInfo, order: Order, precision: str, as_json: bool) -> None:
    """Opens a run, writes the file, and says what became of the users.

    Raises:
        InputError, DataError, ResultError: what `recommend_all` raises.
        Interrupted: stopped; the same command goes on from there.
    """
    from core.serving.all_users import recommend_all
    from core.serving.opening import open_session
    from ilora_app.cli.stopping import stoppable
    from ilora_app.render.progress import ProgressView

    with ProgressView() as view, stoppable() as should_stop:
        session = open_session(info.path, view, precision, should_stop)
        started = time.monotonic()
        tally = recommend_all(session, order)
        seconds = time.monotonic() - started
    if as_json:
        say_json({"run": str(info.path), "file": str(order.out), **asdict(tally), "seconds": seconds})
    else:
        _say(order.out, tally, seconds)


def _say(out: Path, tally: Tally, seconds: float) -> None:
    say(f"{out}: recommendations for {tally.recommended:,} of {tally.users:,} users, {seconds:.0f} s")
    if tally.unknown:
        say(
            f"{tally.unknown:,} items in the histories of {tally.with_unknown:,} users are not in the "
            "catalogue, and were passed over"
        )
    for why, users in tally.left_out.items():
        say(f"{users:,} users without recommendations: {why}")
