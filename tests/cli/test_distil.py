"""`ilora-app distil`: a student beside its teacher, in one folder and one table; bad input is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core.lm import checking
from core.methods import METHODS
from core.recommenders.adapter import AdapterRecommender
from core.recommenders.lessons import STAGE
from core.results.rankings import load_rankings
from core.results.store import load_results, result_path
from core.runs.store import list_runs, open_run, read_run
from ilora_app.cli import main
from tests import tiny

FEW = ("--histories", "24", "--candidates", "8")


@pytest.fixture(scope="module")
def bench(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> tuple[Path, dict[str, str], dict[str, Path]]:
    """An output folder with a SASRec, an iLoRA and their results, as `bench` leaves it."""
    from core.benchmark.run import Plan, run_benchmark

    place = tmp_path_factory.mktemp("bench")
    environment = tiny.install(place / "home", place / "mirror")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        config = tiny.config(tiny_model, samples=8)
        run_benchmark(Plan(config, ("sasrec", "ilora"), (0,), place / "runs", "quick", "ilora-app bench"))
        runs = {run.method: run.path for run in list_runs(place / "runs")[0]}
    return place / "runs", environment, runs


@pytest.fixture
def out(
    bench: tuple[Path, dict[str, str], dict[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of that folder."""
    for name, value in bench[1].items():
        monkeypatch.setenv(name, value)
    shutil.copytree(bench[0], tmp_path / "runs")
    return tmp_path / "runs"


def ends(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_student_stands_beside_its_teacher_and_opens_without_a_language_model(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ends("distil", "ilora", "--out", out, *FEW) == 0
    said = capsys.readouterr().out
    assert "Distilled SASRec" in said and "its teacher's" in said and "ms a case" in said
    found, problems = load_results(out)
    assert not problems and sorted(one.method for one in found) == ["distilled", "ilora", "sasrec"]
    assert len({one.samples_sha256 for one in found}) == 1
    student = next(one for one in found if one.method == "distilled")
    load_rankings(student, result_path(out, *student.key))
    assert student.config["distillation"]["histories"] == 24
    teacher = next(run for run in list_runs(out)[0] if run.method == "ilora")
    assert student.config["distillation"]["teacher"] == teacher.path.name
    assert student.model is None and student.parameters.total == student.parameters.trainable > 0
    capsys.readouterr()
    assert ends("results", "--out", out, "--json") == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    assert {row["method"] for row in table["rows"]} == {"distilled", "ilora", "sasrec"}
    with monkeypatch.context() as patch:
        patch.setattr(checking, "load_checked", lambda *_: pytest.fail("a language model is loaded"))
        opened = open_run(next(run.path for run in list_runs(out)[0] if run.method == "distilled"))
        assert opened.recommender.score([[1, 2]], [[3, 4, 5]]).shape == (1, 3)
        capsys.readouterr()
        assert ends("evaluate", opened.info.path, "--json") == 0
        assert json.loads(capsys.readouterr().out)["agrees"]
        assert ends("recommend", "--run", opened.info.path, "--user", "3", "--json") == 0
        ranked = json.loads(capsys.readouterr().out)
        assert ranked["method"] == "distilled"
        text = (opened.info.path / "config.toml").read_text(encoding="utf-8")
        assert "ilora-app distil" in text.splitlines()[0]
        assert ends("train", opened.info.path / "config.toml", "--out", out) == 2
        assert "is a student's: it needs its teacher" in capsys.readouterr().err


def test_the_same_command_finds_it_done_and_other_settings_ask_the_teacher_for_nothing_new(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ends("distil", "ilora", "--out", out, *FEW) == 0
    before = {path: path.stat().st_mtime_ns for path in (out / "models").rglob("*") if path.is_file()}
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(AdapterRecommender, "load", lambda *_: pytest.fail("opened"))
        assert ends("distil", "ilora", "--out", out, *FEW, "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    finished = [event for event in events if event["event"] == "MethodFinished"]
    assert [(one["method"], one["reused"]) for one in finished] == [("sasrec", True), ("distilled", True)]
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert ends("distil", "ilora", "--out", out, *FEW, "--temperature", "2", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["total"] for one in events if one["event"] == "StageStarted" and one["stage"] == STAGE] == [0]
    assert len([run for run in list_runs(out)[0] if run.method == "distilled"]) == 2


def test_a_run_elsewhere_brings_its_results_along(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(run.path for run in list_runs(out)[0] if run.method == "ilora")
    assert ends("distil", path, "--out", tmp_path / "other", *FEW, "--histories", "10%") == 0
    found, problems = load_results(tmp_path / "other")
    assert not problems and sorted(one.method for one in found) == ["distilled", "ilora", "sasrec"]
    for one in found:
        load_rankings(one, result_path(tmp_path / "other", *one.key))
    assert [run.method for run in list_runs(tmp_path / "other")[0]] == ["distilled"]
    student = next(one for one in found if one.method == "distilled")
    cases = len(open_run(list_runs(tmp_path / "other")[0][0].path).samples.train)
    assert student.config["distillation"]["histories"] == round(cases / 10)


def test_without_the_plain_sasrecs_result_it_is_trained(out: Path, tmp_path: Path) -> None:
    run = shutil.copytree(
        next(run.path for run in list_runs(out)[0] if run.method == "ilora"),
        tmp_path / "far" / "off" / "alone",
    )
    assert ends("distil", run, "--out", tmp_path / "other", *FEW) == 0
    found, _ = load_results(tmp_path / "other")
    assert sorted(one.method for one in found) == ["distilled", "ilora", "sasrec"]
    assert {read.method for read in list_runs(tmp_path / "other")[0]} == {"sasrec", "distilled"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("sasrec",), "is SASRec, which asks no language model"),
        (("nothing",), "no run nothing"),
        (("ilora", "--histories", "0"), "--histories is '0'"),
        (("ilora", "--histories", "1.5"), "--histories is '1.5'"),
        (("ilora", "--histories", "many"), "--histories is 'many'"),
        (("ilora", "--histories", "nan"), "--histories is 'nan'"),
        (("ilora", "--histories", "200%"), "--histories is '200%'"),
        (("ilora", "--candidates", "1"), "the number of candidates is 1"),
        (("ilora", "--candidates", "39"), "no training user of tiny has 39 items left"),
        (("ilora", "--temperature", "0"), "the temperature is 0"),
        (("ilora", "--drawn", "2"), "the share of drawn candidates is 2"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    out: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    results = sorted((out / "results").iterdir())
    assert ends("distil", *arguments, "--out", out) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("error:") == error.count("hint:") == 1
    assert sorted((out / "results").iterdir()) == results


def test_a_damaged_run_and_a_missing_dataset_are_one_line(
    out: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next(run.path for run in list_runs(out)[0] if run.method == "ilora")
    monkeypatch.setenv("ILORA_APP_HOME", str(tmp_path / "empty"))
    assert ends("distil", path, "--out", out, *FEW) == 2
    assert "tiny" in capsys.readouterr().err
    monkeypatch.undo()


def test_a_damaged_teacher_is_one_line(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(run.path for run in list_runs(out)[0] if run.method == "ilora")
    (path / "ilora.safetensors").write_bytes(b"nothing")
    assert ends("distil", path, "--out", out, *FEW) == 2
    assert "is not the file that was saved" in capsys.readouterr().err


def test_bench_and_train_say_what_trains_a_student(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert METHODS["distilled"].is_student
    for command in (("bench", "--methods", "distilled"), ("train", "--method", "distilled")):
        assert ends(*command, "--dataset", "tiny", "--preset", "quick", "--out", out) == 2
        error = capsys.readouterr().err
        assert "distilled learns from a trained run" in error and "ilora-app distil RUN" in error
    assert read_run(next(iter(list_runs(out)[0])).path).method in METHODS
