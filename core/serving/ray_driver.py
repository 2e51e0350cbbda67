"""The process that speaks with Ray: `python -m core.serving.ray_driver`, started by `ray_child`.

On stdin comes one line of JSON, what is to be done; when stdin ends, whoever asked is gone and so is this
process. On stdout go frames: a line of JSON that says how many bytes follow, and these. Ray's own words go to
stderr. Being a process of its own it can be ended whatever Ray waits for, and Ctrl-C does not reach Ray.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

from core.serving.ray_workers import FIRST, ROWS, SAID, Recommending, read_users

STORE_BYTES = 256 << 20
"""Of the shared memory of a cluster on this machine; rows are small."""
ATTEMPTS = 3
"""How often a worker that died is started again."""


def main() -> None:
    """Does what stdin says."""
    asked = json.loads(sys.stdin.buffer.readline())
    frames = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no frame
    threading.Thread(target=_end_with_the_asker, daemon=True).start()
    try:
        _work(asked, frames)
    except Exception as error:
        _send(frames, {"kind": "failed", "why": _words(error)})
        raise
    finally:
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
        shutil.rmtree(asked["folder"], ignore_errors=True)  # whoever asked may be gone


def _end_with_the_asker() -> None:
    """Waits until stdin ends, which it does when the other process is gone or wants no more."""
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def _work(asked: dict[str, Any], frames: BinaryIO) -> None:
    import ray

    loud = asked["verbose"]
    quiet = {} if loud else {"logging_level": "ERROR", "log_to_driver": False}
    if asked["address"]:
        ray.init(address=asked["address"], **quiet)
    else:
        ray.init(
            address="local",
            num_cpus=asked["cpus"],
            num_gpus=asked["gpus"],
            include_dashboard=False,
            object_store_memory=STORE_BYTES,
            _temp_dir=asked["folder"],
            **quiet,
        )
    room = ray.cluster_resources()
    gpus = int(room.get("GPU", 0))
    workers = asked["workers"] or gpus or max(1, int(room.get("CPU", 1)))
    addresses = sorted({node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]})
    _send(frames, {"kind": "ready", "workers": workers, "gpus": gpus, "addresses": addresses})
    for row in _rows(asked, workers, 1 if gpus else 0):
        content = bytes(row[ROWS])
        said = {"kind": "piece", "first": int(row[FIRST]), "said": str(row[SAID]), "bytes": len(content)}
        _send(frames, said, content)
    _send(frames, {"kind": "end"})


def _rows(asked: dict[str, Any], workers: int, gpus: int) -> Iterator[dict[str, Any]]:
    """What the workers give, in whatever order they finish."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = bool(asked["verbose"])
    context.target_max_block_size = 1  # a row is a batch of users, and a block of its own
    if not asked["verbose"]:
        import logging

        for name in ("ray.data", "ray"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    users = ray.data.from_items([{"all": 0}]).map_batches(
        read_users,
        batch_size=None,
        num_cpus=0,  # it waits for the workers nearly all the time, and must never wait for their processors
        fn_kwargs={name: asked[name] for name in ("run", "histories", "missing", "size")},
    )
    ranked = users.map_batches(
        Recommending,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=asked["worker_cpus"],
        num_gpus=gpus,
        fn_constructor_kwargs={name: asked[name] for name in ("run", "precision", "top", "retrieve")},
        max_restarts=ATTEMPTS,
        max_task_retries=ATTEMPTS,
    )
    for batch in ranked.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"):
        for place in range(len(batch[FIRST])):
            yield {name: batch[name][place] for name in (FIRST, SAID, ROWS)}


def _send(frames: BinaryIO, said: dict[str, Any], content: bytes = b"") -> None:
    frames.write(json.dumps(said).encode() + b"\n" + content)
    frames.flush()


def _words(error: Exception) -> str:
    """The last line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


if __name__ == "__main__":
    main()
