"""Models of one's own: loaded, trained, ranked with, kept, opened again, exported.

Skipped unless the environment names some: `ILORA_APP_MODELS=a.gguf:b.gguf pytest -n 0 THIS FILE`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.benchmark.evaluate import evaluate_run
from core.benchmark.run import Plan, run_benchmark
from core.config.presets import with_overrides
from core.runs.exporting import export_adapter
from core.runs.exporting_experts import export_experts
from core.runs.store import list_runs, open_run
from tests import tiny

GIVEN = [name for name in os.environ.get("ILORA_APP_MODELS", "").split(os.pathsep) if name]


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_home")
@pytest.mark.parametrize("name", GIVEN or [pytest.param("", marks=pytest.mark.skip("no model is named"))])
def test_a_given_model_goes_all_the_way(name: str, tmp_path: Path) -> None:
    config = tiny.config(Path(name).absolute(), samples=16, encoder_prior=False)
    config = with_overrides(config, model={"quantize": "nf4"}, adapter={"rank": 8, "layers": 4})
    results = run_benchmark(Plan(config, ("lora", "ilora"), (0,), tmp_path / "out"))
    assert [result.method for result in results] == ["lora", "ilora"]
    for result in results:
        assert result.parameters.adapter > 0 and result.timings["samples_per_second"] > 0
        assert all(1 <= case.rank <= 20 for case in result.cases)
        assert len({case.rank for case in result.cases}) > 1  # scores differ: it reads what it is given
    (path,) = (run.path for run in list_runs(tmp_path / "out")[0] if run.method == "ilora")
    assert evaluate_run(path).agrees
    opened = open_run(path)
    assert export_adapter(opened, tmp_path / "one", user="3").rank == 8
    assert len(export_experts(opened, tmp_path / "experts").experts) == 4
