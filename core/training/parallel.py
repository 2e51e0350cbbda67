"""Several processes as one run: who writes, what each one works on, and what they agree on.

`accelerate launch` and `torchrun` start the same program several times. Each process takes its share of every
batch and of the test cases; gradients and answers are put together. Each holds the whole model, or, where the
launcher asks for FSDP, a part of every layer (see `core.lm.sharding`). In a single process everything here is
the identity, and torch.distributed is not touched.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from core.config.checks import check
from core.errors import IloraError, Interrupted, TrainingError
from core.events import ShouldStop

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = timedelta(hours=12)
"""How long a process waits for another, which may be fetching a model."""
SHARDED = "ACCELERATE_USE_FSDP"
"""What accelerate's launcher sets to ask for a model whose layers are sharded over the processes."""
REFUSED = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")
"""What it sets to ask for other ways to shard a model, which are not done here."""
LOADING = "FSDP_CPU_RAM_EFFICIENT_LOADING"
"""What it sets for transformers to load weights in the main process alone, which must hand them out."""

_depth_of_solo = 0
_mesh: DeviceMesh | None = None


def announced() -> int:
    """How many processes the launcher says there are; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined() -> Iterator[None]:
    """Meets the other processes for the time of the block; nothing happens where there are none.

    Raises:
        InputError: the launch asks for what this program does not do, or for more devices than there are.
        TrainingError: another process ended before its time.
    """
    if announced() <= 1:
        yield
        return
    asked = [name for name in REFUSED if _is_set(name)]
    check(
        not asked,
        f"{', '.join(asked)} is set, but a model is not sharded over devices that way here",
        "launch with --use_fsdp, or without (each process holds the model); --quantize nf4 makes it small",
    )
    os.environ[LOADING] = "false"  # here every process reads the weights and keeps its part
    # Its functions' defaults keep the group that is there when it is first imported, whoever imports it.
    import torch.distributed.nn.functional  # noqa: F401

    dist.init_process_group(_backend(), timeout=PATIENCE)
    try:
        yield
        wait()  # nobody leaves while others still need it
    finally:
        _leave()


def _leave() -> None:
    """Gives the group up for good.

    One that lives on keeps its threads, and one of them that lets go of a tensor while the interpreter ends
    aborts the process.
    """
    global _mesh
    dist.destroy_process_group()
    if _mesh is not None:  # DTensor's caches keep the mesh, so the mesh must not keep the group
        vars(_mesh).get("_pg_registry", {}).clear()
        _mesh = None
    gc.collect()


def mesh(kind: str) -> DeviceMesh:
    """All processes in a row, for sharding weights over their devices of this kind; made once for a run."""
    global _mesh
    from torch.distributed.device_mesh import init_device_mesh

    if _mesh is None:
        _mesh = init_device_mesh(kind, (size(),))
    return _mesh


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("true", "1", "yes")


def _backend() -> str:
    """gloo between CPUs; NCCL beside it between GPUs, of which each process takes one."""
    if not torch.cuda.is_available():
        return "gloo"
    place, devices = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    check(
        place < devices,
        f"process {place + 1} on this machine finds only {devices} GPUs",
        f"launch at most {devices} processes per machine",
    )
    torch.cuda.set_device(place)
    return "cpu:gloo,cuda:nccl"


def size() -> int:
    """How many processes share the work in hand: 1 without a launcher, and inside `main_first`."""
    return dist.get_world_size() if dist.is_initialized() and not _depth_of_solo else 1


def rank() -> int:
    """This process among those that share the work in hand, from 0."""
    return dist.get_rank() if dist.is_initialized() and not _depth_of_solo else 0


def is_main() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return rank() == 0


def is_sharded() -> bool:
    """Whether each process that shares the work in hand holds but a part of the model's layers.

    Then all must run the layers together and equally often, for each run collects the other parts.
    """
    return size() > 1 and _is_set(SHARDED)


def told_to_stop(should_stop: ShouldStop) -> bool:
    """Whether this process is asked to stop; where the model is sharded, whether any is."""
    asked = should_stop()
    return anyone(asked) if is_sharded() else asked


@contextmanager
def _with_the_others() -> Iterator[None]:
    """Around every exchange: a process that is gone is a failure that can be told, not a bug."""
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            f"another process of this run has ended, so process {rank()} ends too",
            "its own message says why; the same command goes on from the last checkpoint",
        ) from error


def wait() -> None:
    """Returns once every process has come this far."""
    anyone(False)


def anyone(flag: bool) -> bool:
    """Whether the flag is up in any process."""
    return largest(int(flag)) > 0


def largest(value: int) -> int:
    """The largest value that any process gives."""
    if size() == 1:
        return value
    found = torch.tensor(value, dtype=torch.int64)
    with _with_the_others():
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def add_gradients(parameters: Sequence[nn.Parameter], value: float) -> float:
    """Sums gradients over all processes, in place, and a number; the number's sum is returned.

    A parameter that got no gradient in any process keeps none, as in a single process.
    """
    if size() == 1:
        return value
    first = parameters[0]
    rows = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in parameters]
    extra = torch.tensor([float(p.grad is not None) for p in parameters] + [value]).to(first)
    flat = torch.cat([*(row.flatten() for row in rows), extra])
    with _with_the_others():
        dist.all_reduce(flat)
    *parts, extra = torch.split(flat, [*(p.numel() for p in parameters), len(extra)])
    for parameter, part, givers in zip(parameters, parts, extra.tolist(), strict=False):
        parameter.grad = part.view_as(parameter) if givers else None
    return float(extra[-1])


def same_for_all(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The main process's tensors, in every process."""
    return from_main(lambda: {name: tensor.cpu() for name, tensor in state.items()})


def from_main(work: Callable[[], T]) -> T:
    """What the main process finds, in every process; the others do not look themselves.

    Raises:
        IloraError, Interrupted: the main process did.
    """
    if size() == 1:
        return work()
    found: list[Any] = [None, None]
    if is_main():
        try:
            found[0] = work()
        except (IloraError, Interrupted) as error:
            found[1] = error
    with _with_the_others():
        dist.broadcast_object_list(found, src=0)
    if found[1] is not None:
        raise found[1]
    result: T = found[0]
    return result


@contextmanager
def main_first() -> Iterator[None]:
    """The block runs in the main process alone; then in all others, which find the files it made.

    Inside, a process works as if there were no other.

    Raises:
        IloraError, Interrupted: the main process did.
    """
    global _depth_of_solo
    if size() == 1:
        yield
        return
    first = is_main()
    if not first:
        from_main(_nothing)
    failure: list[Exception] = []
    _depth_of_solo += 1
    try:
        yield
    except (IloraError, Interrupted) as error:
        failure.append(error)
        raise
    except BaseException:
        first = False  # a bug: this process ends, and the others notice
        raise
    finally:
        _depth_of_solo -= 1
        if first:
            _tell(failure)


def main_first_if_whole() -> AbstractContextManager[None]:
    """`main_first`; all at once where the model is sharded, for then no process can run it alone."""
    return nullcontext() if is_sharded() else main_first()


def _nothing() -> None:
    return None


def _tell(failure: list[Exception]) -> None:
    """The main process's half of `from_main`, after the work."""
    with _with_the_others():
        dist.broadcast_object_list([None, failure[0] if failure else None], src=0)


def share_out(items: Sequence[T], work: Callable[[Sequence[T]], Sequence[R]]) -> list[R]:
    """What `work` makes of all items, in their order, in every process; each works on its share.

    Where the model is sharded, all shares are equally long: a short one gets an item more, whose result is
    not used.

    Args:
        items: the same in every process.
        work: one result for each item it is given.

    Raises:
        Interrupted: `work` was asked to stop in any process.
    """
    if size() == 1:
        return list(work(items))
    own: Sequence[T] = items[rank() :: size()]
    if is_sharded():
        missing = -(-len(items) // size()) - len(own)
        own = [*own, *items[:missing]]
    stopped = False
    results: list[R] = []
    try:
        results = list(work(own)) if len(own) else []
    except Interrupted:
        stopped = True
    parts: list[Any] = [None] * size()
    with _with_the_others():
        dist.all_gather_object(parts, None if stopped else results)
    if any(part is None for part in parts):
        raise Interrupted
    return [parts[place % size()][place // size()] for place in range(len(items))]
