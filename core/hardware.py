"""What this machine is, what it runs, and how much memory the work took."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import threading
from importlib import metadata
from types import TracebackType

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
    import torch

    memory = psutil.virtual_memory().total / 2**30
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        return f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    return f"{cores()} CPU cores, {memory:.0f} GiB"


def release_memory() -> None:
    """Gives freed memory back to the system between two pieces of work, where the C library can (glibc)."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


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
        import torch

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import torch

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
