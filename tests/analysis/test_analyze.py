"""An analysis of a tiny run: clusters are compared, experts described, gains measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from core.analysis.analyze import Settings, analyze, find_partner
from core.analysis.record import record
from core.analysis.transfer import gradient_similarity
from core.benchmark.run import Plan, run_benchmark
from core.errors import InputError, Interrupted
from core.events import Notice, StepLogged
from core.recommenders.base import Task
from core.runs.store import list_runs, read_run, result_of
from core.serving.opening import open_session
from ilora_app.cli import main
from tests import tiny

SETTINGS = Settings(clusters=3, windows=6)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path):
    folder = tmp_path_factory.mktemp("analysis")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in tiny.install(folder / "home", folder / "mirror").items():
            patch.setenv(name, value)
        config = tiny.config(tiny_model, samples=8, encoder_prior=False)
        run_benchmark(Plan(config, ("sasrec", "lora", "ilora"), (0,), folder / "runs"))
        yield folder / "runs"


def run_of(out: Path, method: str) -> Path:
    return next(run.path for run in list_runs(out)[0] if run.method == method)


@pytest.fixture(scope="module")
def found(out):
    return analyze(run_of(out, "ilora"), settings=SETTINGS)


def test_both_methods_have_a_matrix_of_cosines(found):
    assert [one.method for one in found.transfers] == ["ilora", "lora"]
    for one in found.transfers:
        assert one.similarity.shape == (3, 3)
        assert np.allclose(one.similarity, one.similarity.T, atol=1e-6)
        assert (np.abs(one.similarity) <= 1 + 1e-6).all()
        assert one.windows == (6, 6, 6) and abs(one.between) <= one.strength <= 1
    assert found.transfers[0].parameters == found.transfers[1].parameters
    assert sum(found.clusters.sizes) == tiny.USERS - 4 - 3  # test and validation users train nothing


def test_a_gradient_is_that_of_the_loss_at_the_saved_weights(out):
    session = open_session(run_of(out, "ilora"))
    model, info = session.recommender.model, session.info
    task = Task(session.dataset, session.samples, info.config, 0, info.path)
    windows = list(session.samples.train[:4])
    alike = gradient_similarity(model, task, "ilora", [windows, windows])
    assert alike.between == pytest.approx(1, abs=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters().values())
    before = {name: tensor.clone() for name, tensor in model.state().items()}
    gradient_similarity(model, task, "ilora", [windows])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state().items())


def test_experts_are_described_by_all_users(found):
    experts = found.experts
    assert len(experts.experts) == 4
    assert np.allclose(experts.omega.sum(axis=1), 1, atol=1e-5)
    assert sum(one.favourites for one in experts.experts) == pytest.approx(1)
    assert ((experts.entropy >= 0) & (experts.entropy <= 1 + 1e-9)).all() and 0 <= experts.balance <= 1
    for k, one in enumerate(experts.experts):
        weights = [weight for _, weight in one.users]
        assert weights == sorted(weights, reverse=True)
        assert weights[0] == pytest.approx(experts.omega[:, k].max())


def test_gains_are_of_the_test_users_and_add_up(out, found):
    ours, theirs = (result_of(run_of(out, method)) for method in ("ilora", "lora"))
    users = {case.user for case in ours.cases}
    assert [gain.n for gain in found.gains] == [len(users)] * 2
    mean = [value.metrics["spread"]["MRR"].value for value in (ours, theirs)]
    assert all(-1 <= gain.y.min() <= gain.y.max() <= 1 for gain in found.gains)
    assert np.sign(round(found.gains[0].y.mean(), 6)) == np.sign(round(mean[0] - mean[1], 6))


def test_runs_that_were_moved_keep_who_gains(out, found, tmp_path):
    ours, theirs = (
        Path(shutil.copytree(run_of(out, method), tmp_path / method)) for method in ("ilora", "lora")
    )
    moved = analyze(ours, theirs, settings=SETTINGS).gains
    assert len(moved) == len(found.gains) == 2
    for gain, before in zip(moved, found.gains, strict=True):
        assert gain.n == before.n and np.array_equal(gain.y, before.y)


def test_the_record_is_json_and_states_every_n(found):
    said = json.loads(json.dumps(record(found), allow_nan=False))
    assert said["clusters"]["users"] == 23
    assert all(one["windows"] for one in said["transfer"])
    assert said["experts"]["n"] == len(found.experts.omega)
    assert all(gain["n"] == 4 for gain in said["gains"])


def test_the_partner_is_found_from_either_side(out):
    for method, other in (("ilora", "lora"), ("lora", "ilora")):
        assert find_partner(read_run(run_of(out, method))).method == other


def test_alone_a_run_is_looked_into_alone(out, tmp_path):
    (tmp_path / "models").mkdir()
    alone = tmp_path / "models" / "alone"
    alone.symlink_to(run_of(out, "lora"))
    events = []
    found = analyze(alone, settings=SETTINGS, emit=events.append)
    assert found.against is None and found.experts is None and found.gains == ()
    assert len(found.transfers) == 1
    assert any("nothing to compare" in event.text for event in events if isinstance(event, Notice))
    assert any(event.stage == "gradients" for event in events if isinstance(event, StepLogged))


def test_what_cannot_be_analyzed_is_an_error(out):
    with pytest.raises(InputError, match="no adapter"):
        analyze(run_of(out, "sasrec"), settings=SETTINGS)
    with pytest.raises(InputError, match="itself"):
        analyze(run_of(out, "lora"), run_of(out, "lora"), SETTINGS)
    for wrong in ({"clusters": 1}, {"windows": 1}):
        with pytest.raises(InputError):
            Settings(**wrong)


def test_it_stops_when_asked(out):
    with pytest.raises(Interrupted):
        analyze(run_of(out, "lora"), settings=SETTINGS, should_stop=lambda: True)


def test_the_command_prints_tables_and_keeps_plots_that_the_report_shows(out, capsys):
    path = run_of(out, "ilora")
    arguments = ["analyze", str(path), "--clusters", "3", "--windows", "6"]
    with pytest.raises(SystemExit) as done:
        main(arguments)
    said = " ".join(capsys.readouterr().out.split())
    assert not done.value.code
    for promised in ("Negative transfer", "What the experts are for", "Who gains", "23 training users"):
        assert promised in said, promised
    folder = out / "analysis" / path.name
    for name in ("gradients.svg", "experts.svg", "gain-1.svg", "gain-2.svg"):
        ElementTree.parse(folder / name)
    with pytest.raises(SystemExit):
        main(["results", "--out", str(out), "--report"])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Negative transfer" in page and "Who gains" in page
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*arguments, "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads((folder / "analysis.json").read_text())


def test_a_folder_that_is_no_run_is_one_line_and_a_hint(tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        main(["analyze", str(tmp_path)])
    assert done.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
