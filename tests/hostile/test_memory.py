"""Where memory has a tight limit, a command works or one line says that it ran out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.test_full_disk import asked, is_one_complaint

resource = pytest.importorskip("resource", reason="limits are set otherwise there")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not heed this limit")
@pytest.mark.parametrize("limit", [200, 400, 800, 1500, 2500])
def test_a_limit_of_address_space_is_one_line(
    tiny_home: Path, tiny_model: Path, tmp_path: Path, limit: int
) -> None:
    command = [sys.executable, "-m", "ilora_app", *asked(tmp_path / "runs", tiny_model, "popularity,ilora")]
    bounds = (limit << 20, limit << 20)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, bounds),
    )
    said = done.stderr.splitlines()
    assert done.returncode == 0 or (done.returncode == 2 and is_one_complaint(said)), done.stderr[-2000:]
