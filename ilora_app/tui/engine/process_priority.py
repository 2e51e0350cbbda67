"""How child processes leave the processors to whatever somebody waits for."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def stand_back(pid: int, niceness: int) -> None:
    """Lets others go first when processors are short; it is no condition, so no system has to know it.

    Linux may share its processors out among sessions before it looks at niceness (autogroup), and a child in
    a session of its own would get as much as the screen and its engine together: the session steps back, too.

    Args:
        pid: leader of a session of its own.
        niceness: 0 to 19, more is more polite.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))
