"""Estimates: what is wrong with a question is said at once, and nothing is fetched for an answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from core.errors import InputError
from core.serving.estimating import estimate
from core.serving.protocol import Estimate

try:
    estimate(Estimate(1, "quick", "movielens", "smollm2-135m-instruct", ["ilora"], 1, "runs"))
except InputError as error:
    print(error.title)
assert "torch" not in sys.modules
"""


def test_a_dataset_that_is_not_here_is_named_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "ILORA_APP_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "movielens is not on this machine\n"), done.stderr
