"""What this machine is, what it runs, and how much memory the work took."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import platform
import sys
import threading
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType, TracebackType

import psutil

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "numpy")


def versions() -> dict[str, str]:
    """Python's and the packages' versions that a result depends on, and this program's."""
    found = {"python": platform.python_version()}
    for package, key in [*((name, name) for name in PACKAGES), ("ilora-app", "ilora_app")]:
        try:
            found[key] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[key] = "not installed"
    return found


def cores() -> int:
    """CPU cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def describe() -> str:
    """The hardware in a few words."""
    torch = load_torch()
    memory = psutil.virtual_memory().total / 2**30
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        return f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    return f"{cores()} CPU cores, {memory:.0f} GiB"


KEPT = {-1: 2**31 - 1, -2: 64 * 2**20, -3: 256 * 2**20}
"""glibc's M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD, in bytes."""
GIVEN_BACK = {-3: 2**20}
"""M_MMAP_THRESHOLD where a buffer is needed once: larger ones go back to the system when they are freed."""


def keep_freed_memory() -> None:
    """Lets the next tensor take the memory of the last one, where the C library can (glibc).

    By itself it gives large buffers back to the system at once, and the next one is cleared page by page: a
    product of two 30 MB tensors then takes three times as long.
    `release_memory` gives back what is kept.
    """
    _allocate(KEPT)


@contextlib.contextmanager
def giving_back() -> Iterator[None]:
    """Lets large buffers be given back at once while it is open; later ones are kept again, where glibc can.

    Among kept ones small, lasting buffers come to lie, and the next large one then fits nowhere: a model
    that is quantized as it loads took up to eight times its size.
    """
    _allocate(GIVEN_BACK)
    try:
        yield
    finally:
        keep_freed_memory()


def _allocate(parameters: Mapping[int, int]) -> None:
    """Gives glibc's allocator these parameters; another C library goes on as it is."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        for parameter, value in parameters.items():
            library.mallopt(parameter, value)


def release_memory() -> None:
    """Gives freed memory back to the system between two pieces of work, where the C library can (glibc)."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


GROUPS = Path("/sys/fs/cgroup")
"""Where Linux shows control groups; the memory controller of version 1 has a folder of its own in it."""


def group_memory(own: Path = Path("/proc/self/cgroup"), root: Path = GROUPS) -> int | None:
    """Bytes left under the tightest limit of this process's control groups; None without a limit.

    Version 1 and 2, the process's group and every one around it. Cached files that can be dropped count as
    free.
    """
    found = []
    for folder in _groups(own, root):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no limit is set here
                room = int((folder / limit).read_text()) - int((folder / used).read_text())
                found.append(room + _dropped(folder / "memory.stat", cached))
    return min(found, default=None)


def _dropped(stat: Path, name: str) -> int:
    """Bytes of cached files in a group that can be dropped; 0 where its figures cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return int(dict(line.split() for line in stat.read_text().splitlines()).get(name, 0))
    return 0


def _groups(own: Path, root: Path) -> Iterator[Path]:
    """The folders of the groups that limit this process's memory, innermost first."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        group = top / path.strip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))
    yield from (root, root / "memory")  # a container sees its own group there, whatever its path says


def address_space() -> int | None:
    """Bytes of address space left under the process's limit (`ulimit -v`); None without one."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit - psutil.Process().memory_info().vms


TORCH_SPACE = 640 << 20
"""Bytes of address space that PyTorch's CPU libraries take when they load."""


def load_torch() -> ModuleType:
    """PyTorch, in the way that it can be loaded first of all libraries.

    Its own C code loads NumPy and loses a stop or a lack of memory that comes meanwhile; so NumPy goes first.
    And it ends the whole process where the address space is too small for it; so that is asked before.

    Raises:
        MemoryError: the address space left is too small.
    """
    if "torch" not in sys.modules and (left := address_space()) is not None and left < TORCH_SPACE:
        raise MemoryError
    importlib.import_module("numpy")
    return importlib.import_module("torch")


OUT_OF_MEMORY = ("the memory ran out", "close other programs, or use a smaller --model")
"""What is said, and the hint, where no setting of the work at hand is known to help."""


_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "Cannot allocate memory",
    "failed to map segment",  # of a library, where the address space has a limit
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; on a CPU PyTorch raises a plain RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error)
    return isinstance(error, RuntimeError | OSError | ImportError) and any(
        words in said for words in _NO_MEMORY
    )


def most_memory() -> int:
    """The most resident memory that this process has held so far, in bytes; the system counts it."""
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class PeakMemory:
    """Measures the peak of this process's resident memory, and of its GPU memory, inside a `with` block."""

    INTERVAL = 0.05

    def __init__(self) -> None:
        self.bytes = 0
        self.gpu_bytes = 0
        """What PyTorch allocated on the GPU in use; 0 without one."""
        self._process = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        torch = load_torch()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch = load_torch()
        self._done.set()
        self._thread.join()
        self._look()
        if torch.cuda.is_available():
            self.gpu_bytes = torch.cuda.max_memory_allocated()

    def _watch(self) -> None:
        while not self._done.wait(self.INTERVAL):
            self._look()

    def _look(self) -> None:
        self.bytes = max(self.bytes, self._process.memory_info().rss)
