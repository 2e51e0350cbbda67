"""Records what the clock's test measures here beside the times of a run that was made here.

    ilora-app bench --dataset movielens --preset quick --methods all --out runs
    python benchmarks/record_costs.py runs "two cores, AVX2"

A record of the same processor in tests/benchmark/recorded_costs.json is replaced; a test holds the model of
costs against all of them. Measure on the quiet machine that made the run.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from core.benchmark.costs import encoder_epoch, test_cases
from core.benchmark.estimates import measured
from core.config.presets import preset_config, with_overrides
from core.data.loading import load_task_data
from core.results.store import load_results

RECORDS = Path(__file__).parents[1] / "tests" / "benchmark" / "recorded_costs.json"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("processor")
    parser.add_argument("--preset", default="quick")
    given = parser.parse_args()
    results = [one for one in load_results(given.out)[0] if one.preset == given.preset and one.seed == 0]
    config = with_overrides(preset_config(given.preset), data={"dataset": "movielens"})
    dataset, samples = load_task_data(config.data)
    started = time.monotonic()
    found = measured(config, [result.method for result in results], dataset, samples)
    print(f"measured in {time.monotonic() - started:.1f} s")
    record = {
        "processor": given.processor,
        "preset": given.preset,
        "cases": {
            "test": test_cases(samples),
            "validation": len(samples.validation),
            "pieces": encoder_epoch(config, samples) * config.encoder.batch_size,
        },
        "measured": asdict(found),
        "runs": {
            result.method: {key: result.timings[key] for key in ("train_seconds", "ms_per_user")}
            for result in results
        },
    }
    records = [one for one in json.loads(RECORDS.read_text()) if one["processor"] != given.processor]
    RECORDS.write_text(json.dumps([*records, record], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
