"""The embedded model on a processor without AVX-512, played by any: it trains, ranks and is evaluated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.network, pytest.mark.slow]

WITHOUT_AVX512 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "CUDA_VISIBLE_DEVICES": "",
}
RUN_FILE = """
method = "ilora"
preset = "quick"

[data]
spread_positions = 1
validation_positions = 1
test_users = 12

[encoder]
steps = 40

[training]
samples = 16
validations = 1
validation_cases = 8
"""


def program(folder: Path, *arguments: str) -> str:
    """What the program says on such a processor; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "ilora_app", *arguments],
        cwd=folder,
        env={**os.environ, **WITHOUT_AVX512},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_avx512_it_trains_ranks_and_evaluates_in_fp32(home: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN_FILE, encoding="utf-8")
    program(tmp_path, "train", "run.toml", "--out", "runs", "--json")
    (card,) = (tmp_path / "runs" / "models").glob("*/run.json")
    record = json.loads(card.read_text(encoding="utf-8"))
    assert record["config"]["model"]["precision"] == "float32"
    found = json.loads(program(tmp_path, "evaluate", str(card.parent), "--json"))
    assert found["agrees"], found
    assert found["cases_ranked_otherwise"] == 0
    answer = json.loads(program(tmp_path, "recommend", "--user", "7", "--run", str(card.parent), "--json"))
    assert len(answer["ranking"]) == 10
    machine = json.loads(program(tmp_path, "doctor", "--json"))
    assert machine["precision"] == "float32"
    assert all(trial["works"] for trial in machine["quantizations"])
