"""A result of an older version is read for good: what it lacks is computed from its ranks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import ResultError
from core.results import checking
from core.results.store import load_result, load_results, save_result
from tests.made_up import result

KEPT = Path(__file__).parents[1] / "fixtures" / "first-format"


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def test_the_kept_result_says_what_its_file_says() -> None:
    (path,) = (KEPT / "results").iterdir()
    stored = json.loads(path.read_text(encoding="utf-8"))
    found = load_result(path)
    assert found.config_sha256 == stored["config_sha256"]
    assert found.key.name == path.stem
    for test_set, values in stored["metrics"].items():
        for metric, value in values.items():
            assert vars(found.metrics[test_set][metric]) == value


def test_a_result_from_before_a_metric_gets_it_from_its_ranks(tmp_path: Path) -> None:
    made = result("ilora")
    path = rewritten(
        save_result(made, tmp_path),
        lambda record: [values.pop("NDCG@10") for values in record["metrics"].values()],
    )
    assert load_result(path) == made


def test_a_metric_that_the_ranks_do_not_bear_out_is_refused_though_another_lacks(tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        for values in record["metrics"].values():
            del values["NDCG@10"]
            values["MRR"]["value"] += 0.01

    path = rewritten(save_result(result("ilora"), tmp_path), change)
    with pytest.raises(ResultError, match="MRR on"):
        load_result(path)


def test_a_metric_that_this_version_does_not_know_is_named(tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        for values in record["metrics"].values():
            values["Recall@3"] = values["MRR"]

    rewritten(save_result(result("ilora"), tmp_path), change)
    results, (problem,) = load_results(tmp_path)
    assert not results
    assert "has unknown Recall@3" in problem and "update ilora-app" in problem


def test_a_step_to_a_newer_format_is_applied_to_older_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = result("ilora")
    path = rewritten(
        save_result(made, tmp_path), lambda record: record.update(trained_with=record.pop("command"))
    )

    def second(record: dict[str, Any]) -> dict[str, Any]:
        command = record.pop("trained_with")
        return {**record, "command": command}

    monkeypatch.setattr(checking, "UPGRADES", (second,))
    assert load_result(path) == made
