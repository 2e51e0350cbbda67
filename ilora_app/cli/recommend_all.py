"""`ilora-app recommend --all-users`: recommendations of everybody in one file, by one process or by Ray."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from core.run_time import run_seconds
from ilora_app.cli.saying import say, say_json

if TYPE_CHECKING:
    from core.runs.store import RunInfo
    from core.serving.all_users import Order
    from core.serving.on_ray import Cluster
    from core.serving.user_parts import Tally

ENGINES = ("local", "ray")


def check_engine(engine: str, address: str | None, workers: int | None, verbose: bool) -> Cluster | None:
    """Where Ray is to do it; None for this process.

    Raises:
        InputError: there is no such engine, Ray is missing or does not answer, or an option needs Ray.
    """
    from core.config.checks import check_choice
    from core.errors import InputError

    check_choice(engine, ENGINES, "--engine")
    if engine == "local":
        if address is not None or workers is not None or verbose:
            raise InputError("--address, --workers and --verbose are for Ray", "add --engine ray")
        return None
    from core.serving.on_ray import Cluster, check_cluster

    cluster = Cluster(address, workers, verbose)
    check_cluster(cluster)
    return cluster


def recommend_all_users(
    info: RunInfo, order: Order, precision: str, as_json: bool, cluster: Cluster | None
) -> None:
    """Opens a run, writes the file, and says what became of the users.

    Raises:
        InputError, DataError, ResultError: what `recommend_all` or `recommend_on_ray` raises.
        Interrupted: stopped; the same command goes on from there.
    """
    from ilora_app.cli.stopping import stoppable
    from ilora_app.render.progress import ProgressView

    with ProgressView() as view, stoppable() as should_stop:
        if cluster is None:
            from core.serving.all_users import recommend_all
            from core.serving.opening import open_session

            session = open_session(info.path, view, precision, should_stop)
            started = run_seconds()
            tally = recommend_all(session, order)
        else:
            from core.serving.on_ray import recommend_on_ray
            from core.stages import Watch

            started = run_seconds()
            watch = Watch(view, should_stop, info.method, info.seed)
            tally = recommend_on_ray(info, order, precision, cluster, watch)
        seconds = run_seconds() - started
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
