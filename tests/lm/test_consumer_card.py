"""The benchmark of a consumer card runs to its end where there is no card, with a small random model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.network, pytest.mark.slow]

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "consumer_card.py"
TRAININGS = {
    "train LoRA, listwise",
    "train iLoRA, listwise",
    "train LoRA, language-model",
    "train iLoRA, language-model",
    "train LoRA, listwise, by peft",
}


def test_every_line_of_the_table_is_measured(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "lines.json"
    command = [sys.executable, str(SCRIPT), "--shape", "tiny", "--caps", "0", "--layers", "2", "--steps", "1"]
    ended = subprocess.run(
        [*command, "--json", str(out)], check=False, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert "does not fit" not in ended.stdout
    lines = json.loads(out.read_text(encoding="utf-8"))
    assert {line["what"] for line in lines} == TRAININGS | {"rank with LoRA", "rank with iLoRA"}
    for line in lines:
        assert line["samples_per_second"] > 0
        assert line["layers"] == 2
        assert 0 < line["of_bound"] <= 1.2, "no work is faster than its bound, but for the noise of timing it"
    tokens = {
        line["what"]: line["tokens_per_second"] / line["samples_per_second"]
        for line in lines
        if "listwise" in line["what"]
    }
    assert len({round(each, 6) for each in tokens.values()}) == 1, "all read the same rows"
