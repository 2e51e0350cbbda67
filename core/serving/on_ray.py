"""`recommend --all-users` as a Ray Data pipeline: started, listened to, and its results kept as parts.

One reader gives the missing users in batches, workers rank them, each with the model and encoder loaded, and
this process writes what comes back, in whatever order: parts, which `user_parts` makes the file of. The
batches are those of the single process, so that the scores are its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.loading import load_task_data
from core.data.people import count_people
from core.errors import InputError, Interrupted, ResultError
from core.events import Notice
from core.hardware import cores
from core.runs.parts import same_job, was_begun
from core.runs.store import RunInfo
from core.serving.all_users import BATCH, Order, check_order, job
from core.serving.ray_child import GOES_ON, Child, Piece
from core.serving.user_parts import PartWriter, Span, Tally, fill, tally_from
from core.stages import LOOK_SECONDS, Watch

ADDRESS = "RAY_ADDRESS"
"""Names the cluster where none is given, as it does for Ray's own programs."""
REACH_SECONDS = 5.0
"""How long an address may take to take a connection."""
ANSWER_SECONDS = 45.0
"""How long a cluster may take to answer as Ray."""
START_SECONDS = 300.0
"""How long Ray may take to start on this machine."""
WORKER_BYTES = 2 << 30
"""About what a worker with the embedded model takes."""


@dataclass(frozen=True)
class Cluster:
    """Where the work is done."""

    address: str | None = None
    """`host:port` of a cluster's head, or `auto` for one on this machine; without it one is started here."""
    workers: int | None = None
    """Processes that hold the model; without it as many as there are GPUs, or processors."""
    verbose: bool = False
    """Whether Ray's own words are shown."""


def recommend_on_ray(info: RunInfo, order: Order, precision: str, cluster: Cluster, watch: Watch) -> Tally:
    """Does on Ray what `recommend_all` does: the same rows in the same order, and the same parts on the way.

    Args:
        info: the run; its folder, the program's cache and the file of histories must be at the same place
            on every machine of the cluster.
        order: what and where to; only this machine writes.
        precision: what the language model is computed in.
        cluster: where.
        watch: told how far it is, and may stop it.

    Raises:
        InputError: Ray is not installed or does not answer, a number or path cannot be used, a user is there
            twice, or another process works on the file.
        DataError: a row of the file of histories is not as it should be.
        ResultError: what was begun beside the file is another job; a worker has another run.
        Interrupted: stopped; the same order goes on from there, with or without Ray.
    """
    check_order(order)
    address = check_cluster(cluster)
    known = job(info, order)

    def count() -> int:
        dataset, _ = load_task_data(info.config.data, watch.emit)
        return count_people(dataset, order.histories, watch)

    def work(parts: Path, missing: list[Span]) -> None:
        asked = _asked(info, order, precision, cluster, address, missing)
        _work(info, order, parts, asked, sum(span.users for span in missing), watch)

    def agree(parts: Path) -> None:
        was_begun(parts, known)  # the precision is agreed on with the first result

    return fill(order.out, count, agree, work)


def check_cluster(cluster: Cluster) -> str | None:
    """The address of the cluster to use, None for one of our own.

    Raises:
        InputError: Ray is not installed, the number of workers cannot be used, or nothing answers there.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError("--engine ray needs Ray, which is not installed", "pip install 'ilora-app[ray]'")
    if cluster.workers is not None and cluster.workers < 1:
        raise InputError(f"--workers is {cluster.workers}", "give 1 or more")
    address = cluster.address or os.environ.get(ADDRESS) or None
    if address is None or address == "local":
        if cluster.workers is not None and cluster.workers > cores():
            raise InputError(
                f"--workers is {cluster.workers}, and this machine has {cores()} cores",
                "give fewer, or the --address of a cluster",
            )
        return None
    if address == "auto":
        return address
    host, colon, port = address.rpartition(":")
    if "//" in address or not colon or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise InputError(
            f"--address {address} is no host:port",
            "run this on a machine of the cluster; give its head as HOST:6379, or auto",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except OSError as error:
        raise InputError(
            f"nothing answers at {address}: {error.strerror or error}",
            "start Ray there: ray start --head --port 6379",
        ) from error
    return address


def _asked(
    info: RunInfo,
    order: Order,
    precision: str,
    cluster: Cluster,
    address: str | None,
    missing: Sequence[Span],
) -> dict[str, Any]:
    """What the process that speaks with Ray is told."""
    workers, gpus = cluster.workers, 0
    if address is None:
        import torch

        gpus = torch.cuda.device_count()
        from core.lm.loading import free_memory

        workers = workers or gpus or max(1, min(cores(), free_memory() // WORKER_BYTES))
    return {
        "address": address,
        "cpus": max(cores(), workers or 1),
        "gpus": gpus,
        "worker_cpus": 1 if address else max(1, cores() // (workers or 1)),
        "workers": workers,
        "verbose": cluster.verbose,
        "run": str(info.path.absolute()),
        "precision": precision,
        "top": order.top,
        "retrieve": order.retrieve,
        "histories": None if order.histories is None else str(order.histories.absolute()),
        "missing": [[span.first, span.users] for span in missing],
        "size": BATCH,
    }


def _work(info: RunInfo, order: Order, parts: Path, asked: dict[str, Any], users: int, watch: Watch) -> None:
    """Has the missing users worked on, and writes what comes back."""
    with Child(asked) as child:
        seconds = ANSWER_SECONDS if asked["address"] else START_SECONDS
        workers = watch.wait("ray", lambda: child.ready(seconds))
        if not asked["address"] and not child.is_private():
            raise InputError("Ray would listen to other machines, and was ended", "start a cluster yourself")
        watch.emit(Notice(f"Ray: {workers} worker{'s' if workers > 1 else ''} open the run"))
        piece = watch.wait("workers", child.take)
        _write(info, order, parts, child, piece, users, watch)


def _next(child: Child, watch: Watch) -> Piece | None:
    """The next result, None after the last one; stopped where the watch says so."""
    while not watch.should_stop():
        with contextlib.suppress(queue.Empty):
            return child.take_within(LOOK_SECONDS)
    raise Interrupted


def _write(
    info: RunInfo, order: Order, parts: Path, child: Child, piece: Piece | None, users: int, watch: Watch
) -> None:
    """Writes results as parts until there are no more."""
    begun: dict[str, Any] = {"precision": "", "seconds": 0.0} if piece is None else piece.said
    writer, precision, met = PartWriter(parts), begun["precision"], set[int]()
    stage = watch.stage("recommend", users, begun["seconds"])
    expected = [info.created, info.samples_sha256, info.files]
    try:
        while piece is not None:
            if piece.said["run"] != expected:
                hint = "copy the same folder to all machines"
                raise ResultError(f"a worker found another run in {info.path}", hint)
            if piece.said["precision"] != precision:
                other = piece.said["precision"]
                raise InputError(f"workers compute in {precision} and in {other}", "give --precision")
            if not stage.done:
                same_job(parts, job(info, order, precision))
                for text in piece.said["notices"]:
                    watch.emit(Notice(text))
            if piece.first not in met:  # a worker that died may have been asked again
                met.add(piece.first)
                tally = tally_from(piece.said["tally"])
                writer.add(piece.first, piece.rows(), tally)
                stage.advance(tally.users)
            piece = _next(child, watch)
    finally:
        writer.flush()
    if stage.done != users:
        raise InputError(f"Ray ended after {stage.done} of {users} users", GOES_ON)
