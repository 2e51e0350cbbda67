"""A few adapters for all users: each is a cluster's, plain peft loads it, and what it costs is measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.benchmark import few_gates
from core.benchmark.few_gates import VALIDATION, ask_few_gates
from core.errors import InputError, Interrupted
from core.evaluation.metrics import pairs_alike
from core.ilora.gate_clusters import GateClusters, given_gates, read_gates
from core.recommenders.registry import method_class
from core.runs.exporting_clusters import INDEX, MOST, export_clusters, fit_clusters
from core.runs.store import OpenRun, run_folder, save_run
from core.stages import Watch
from ilora_app.cli import main
from tests import made_up, tiny
from tests.ilora.test_folding import close, logits, reloaded
from tests.ilora.test_layers import tokens
from tests.runs.gated import gated_run

pytestmark = pytest.mark.usefixtures("tiny_home")


@pytest.fixture(params=["shared", "per-layer"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> OpenRun:
    """An iLoRA that was never trained, with a sharp gate."""
    return gated_run(tmp_path, request.param)


def model_of(run: OpenRun) -> Any:
    return run.recommender.model  # type: ignore[attr-defined]


def newest(run: OpenRun, user: str) -> tuple[int, ...]:
    return tuple(run.dataset.sequences[user].items[-10:].tolist())


def test_a_users_adapter_is_that_of_the_nearest_cluster(run: OpenRun, tmp_path: Path) -> None:
    written = export_clusters(run, tmp_path / "out", 3)
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert (written.adapters, sum(written.users)) == (
        ("cluster-0000", "cluster-0001", "cluster-0002"),
        tiny.USERS,
    )
    assert index.keys() == run.dataset.sequences.keys()
    model, clusters = model_of(run), fit_clusters(run, [3])[3]
    ids, answers = tokens(batch=1), []
    for user in ("1", "30"):
        history = newest(run, user)
        own = read_gates(model, [history])[0]
        away = [np.square(own - centre).sum() for centre in clusters.centres]
        assert index[user] == written.adapters[int(np.argmin(away))]
        given = {history: clusters.centres[int(np.argmin(away))]}
        with torch.no_grad(), given_gates(model, given), model._gated([history]):
            expected = logits(model.peft, ids)
        answers.append(logits(reloaded(tiny.llama, tmp_path / "out" / index[user]), ids))
        close(answers[-1], expected)


def test_one_cluster_is_the_mean_gate_of_training_histories(run: OpenRun) -> None:
    omega = read_gates(model_of(run), [case.history for case in run.samples.train])
    centres = fit_clusters(run, [1])[1].centres
    np.testing.assert_allclose(centres[0], omega.mean(0), atol=1e-6)


def test_a_file_names_the_users(run: OpenRun, tmp_path: Path) -> None:
    ids = run.dataset.catalogue.ids
    people = [("a/b", list(ids[:3])), ("lost", ["no such item"]), ("odd", [ids[5], "no such item"])]
    file = tmp_path / "people.jsonl"
    file.write_text("\n".join(json.dumps({"user": user, "history": row}) for user, row in people))
    written = export_clusters(run, tmp_path / "out", 2, file)
    assert (sum(written.users), written.left_out, written.unknown) == (2, 1, 2)
    assert set(json.loads((tmp_path / "out" / INDEX).read_text())) == {"a/b", "odd"}


@pytest.mark.parametrize("count", [0, MOST + 1])
def test_a_number_that_cannot_be_used_writes_nothing(run: OpenRun, tmp_path: Path, count: int) -> None:
    with pytest.raises(InputError, match=f"{count} clusters"):
        export_clusters(run, tmp_path / "out", count)
    assert list(tmp_path.glob("out*")) == []


def test_stopped_nothing_is_written(run: OpenRun, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        export_clusters(run, tmp_path / "out", 2, watch=Watch(should_stop=lambda: True))
    assert list(tmp_path.glob("*out*")) == []


def test_each_number_of_adapters_stands_beside_each_historys_own(run: OpenRun) -> None:
    found = ask_few_gates(run, [1, 4])
    assert [(row.set, row.adapters) for row in found] == [
        (name, count) for name in (VALIDATION, *run.samples.test) for count in (0, 1, 4)
    ]
    for row in found:
        if not row.adapters:
            assert (row.same_first.value, row.same_pairs.value, row.against_own) == (1, 1, None)
            continue
        assert row.against_own is not None
        own = next(other for other in found if other.set == row.set and not other.adapters)
        assert row.against_own.difference == pytest.approx(row.hits.value - own.hits.value)
        assert row.same_pairs.value < 1


def test_clusters_that_are_the_gates_themselves_change_nothing(
    run: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [*run.samples.validation, *run.samples.asked.values()]
    exact = GateClusters(read_gates(model_of(run), [case.history for case in cases]))
    monkeypatch.setattr(few_gates, "fit_clusters", lambda *_: {1: exact})
    before = model_of(run).gate
    for row in ask_few_gates(run, [1]):
        assert (row.same_first.value, row.same_pairs.value) == (1, pytest.approx(1, abs=0.01))
    assert model_of(run).gate is before


def test_pairs_alike_counts_pairs() -> None:
    a, b = np.array([[3.0, 2.0, 1.0]]), np.array([[3.0, 1.0, 2.0]])
    assert pairs_alike(a, a).tolist() == [1.0]
    assert pairs_alike(a, b).tolist() == [pytest.approx(2 / 3)]
    assert pairs_alike(a, -a).tolist() == [0.0]


def test_a_run_tested_against_the_catalogue_is_refused(run: OpenRun) -> None:
    config = run.info.config
    whole = dataclasses.replace(config, data=dataclasses.replace(config.data, candidates="catalogue"))
    with pytest.raises(InputError, match="whole catalogue"):
        ask_few_gates(dataclasses.replace(run, info=dataclasses.replace(run.info, config=whole)), [1])


def test_the_commands_write_adapters_and_say_what_they_cost(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recommender = method_class("ilora")()
    task = tiny.task(tiny.config(tiny_model, samples=4), tmp_path / "work")
    recommender.fit(task)
    path = run_folder(tmp_path / "runs", "tiny", "paper", "ilora", 0, "ab" * 32)
    path = save_run(recommender, task, path, made_up.result("ilora"))
    out = tmp_path / "out"
    assert command("export", path, "--users", "all", "--clusters", 2, "--out", out) == 0
    assert f"2 adapters for {tiny.USERS} users, rank 4" in capsys.readouterr().out
    assert (out / "cluster-0001" / "adapter_model.safetensors").is_file()
    assert command("evaluate", path, "--clusters", "1,2") == 0
    said = capsys.readouterr().out
    assert "validation: choose the number here" in said
    assert command("evaluate", path, "--clusters", "2", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["adapters"] for row in rows[:2]] == [0, 2]
    no = tmp_path / "no"
    for wrong, says in (
        (("evaluate", path, "--clusters", "two"), "--clusters is 'two'"),
        (("evaluate", path, "--clusters", "0"), "0 clusters were asked for"),
        (("export", path, "--clusters", 2, "--out", no), "--clusters is for --users"),
        (("export", path, "--users", "all", "--clusters", 0, "--out", no), "0 clusters were asked for"),
    ):
        assert command(*wrong) == 2
        assert says in capsys.readouterr().err
    assert not no.exists()


def command(*arguments: Any) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return int(ended.value.code or 0)
