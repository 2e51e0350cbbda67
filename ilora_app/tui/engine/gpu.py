"""How busy a graphics processor is, where there is one whose driver tells it (`nvidia-smi`)."""

from __future__ import annotations

import asyncio
import contextlib
import shutil

from ilora_app.render.figures import size

COMMAND = "nvidia-smi"
ASKED = ("utilization.gpu", "memory.used", "memory.total")
PATIENCE = 5.0
"""Seconds after which no answer is waited for."""


def is_there() -> bool:
    """Whether the driver's program is on this machine."""
    return shutil.which(COMMAND) is not None


async def use() -> list[str]:
    """One text per graphics processor, such as `87 % · 12.3 of 85.0 GB`; none where none answers."""
    query = f"--query-gpu={','.join(ASKED)}"
    try:
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            query,
            "--format=csv,noheader,nounits",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return []
    try:
        said, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    except TimeoutError:
        return []
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return read(said.decode("utf-8", errors="replace")) if process.returncode == 0 else []


def read(said: str) -> list[str]:
    """What `nvidia-smi` printed, in words; memory comes in MiB, and a figure that is not told as `[N/A]`."""
    found = []
    for line in said.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != len(ASKED):
            continue
        busy, used, total = (float(part) if part.replace(".", "").isdecimal() else None for part in parts)
        words = [] if busy is None else [f"{busy:.0f} %"]
        if used is not None and total is not None:
            words.append(f"{size(used * 2**20)} of {size(total * 2**20)}")
        if words:
            found.append(" · ".join(words))
    return found
