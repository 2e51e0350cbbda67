"""All methods on the same cases, one whole result file each, and on from where it stopped."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.benchmark import estimates
from core.benchmark import run as run_module
from core.benchmark.out_folder import prepare_out
from core.benchmark.run import Plan, method_config, run_benchmark
from core.benchmark.testing import rank_cases
from core.config.presets import with_overrides
from core.config.settings import TUNING_GRID, RunConfig
from core.errors import InputError, Interrupted, ModelError, ResultError
from core.evaluation.answer_matching import read_answer
from core.events import Event, Finished, MethodFinished, Notice, PlanMade, Saved, Stopped
from core.lm import loading as loading_module
from core.methods import METHODS, control_methods, local_methods, method_names
from core.recommenders.adapter import AdapterJob
from core.recommenders.base import FitReport, Recommender, Task
from core.results.case_facts import load_experts, load_facts
from core.results.naming import RunKey
from core.results.store import load_results, result_path
from core.runs.store import list_runs, open_run
from tests import tiny

LOCAL_METHODS = local_methods()
LLM_METHODS = method_names(lambda method: method.needs_llm)
ENCODER_METHODS = method_names(lambda method: method.is_encoder)

pytestmark = pytest.mark.usefixtures("tiny_home")


def plan(out: Path, model: Path | str, methods: Any = LOCAL_METHODS, seeds: int = 1, **training: Any) -> Plan:
    config = tiny.config(model, **{"samples": 8, **training})
    return Plan(config, tuple(methods), tuple(range(seeds)), out, "quick", "ilora-app bench")


def of(kind: type[Event], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if any method is fitted."""
    monkeypatch.setattr(run_module, "_run", lambda *_: pytest.fail("a method was run"))


# --- a whole benchmark -------------------------------------------------------------------------------------


def test_all_methods_meet_the_same_cases_and_leave_whole_results(tmp_path: Path, tiny_model: Path) -> None:
    events: list[Event] = []
    asked = plan(tmp_path / "out", tiny_model)
    results = run_benchmark(asked, events.append)
    assert [result.method for result in results] == list(LOCAL_METHODS)
    assert len({result.samples_sha256 for result in results}) == 1
    places = {tuple((case.set, case.user, case.position) for case in result.cases) for result in results}
    assert len(places) == 1
    assert {place[0] for place in next(iter(places))} == {"last", "spread"}
    stored, problems = load_results(tmp_path / "out")
    assert not problems
    assert sorted(stored, key=lambda r: r.method) == sorted(results, key=lambda r: r.method)
    for result in results:
        assert result.timings["test_seconds"] >= 0
        assert result.timings["ms_per_user"] >= 0
        assert result.peak_memory_bytes > 0
        assert result.versions["torch"] == torch.__version__
        assert result.command == "ilora-app bench"
        for test_set, n in (("last", 4), ("spread", 8)):
            assert {"HR@1", "HR@5", "NDCG@10", "MRR"} <= set(result.metrics[test_set])
            for value in result.metrics[test_set].values():
                assert value.n == n
    lora, ilora = (result for result in results if result.method in ("lora", "ilora"))
    assert ilora.parameters.extra_over_lora == 4 * 16
    assert lora.parameters.extra_over_lora == 0
    assert ilora.parameters.trainable - lora.parameters.trainable == 4 * 16
    assert ilora.parameters.adapter == lora.parameters.adapter > 0
    (made,) = of(PlanMade, events)
    assert made.samples_sha256 == results[0].samples_sha256
    assert made.cases == {"last": 4, "spread": 8}
    assert made.minutes > 0
    assert [event.method for event in of(MethodFinished, events)] == list(LOCAL_METHODS)
    assert not any(event.reused for event in of(MethodFinished, events))
    facts = load_facts(tmp_path / "out", "tiny", "paper", results[0].samples_sha256)
    assert facts is not None and {place[1:] for place in next(iter(places))} == set(facts)
    for result in results:
        path = result_path(tmp_path / "out", "tiny", "paper", result.method, 0, result.config_sha256)
        use = load_experts(tmp_path / "out", path)
        assert (use is not None) == (result.method == "ilora")
        if use is not None:
            assert set(use.places) == set(facts) and np.allclose(use.omega.sum(axis=1), 1, atol=1e-3)
    (finished,) = of(Finished, events)
    assert [Path(path).is_file() for path in finished.paths] == [True] * len(LOCAL_METHODS)
    assert not list((tmp_path / "out" / "work").glob("checkpoints/*/*"))  # nothing to go on from


def test_a_second_run_reuses_everything_and_loads_nothing(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = plan(tmp_path, tiny_model, ["popularity", "lora"])
    first = run_benchmark(asked)
    monkeypatch.setattr(run_module, "_run", lambda *_: pytest.fail("a method was run"))
    monkeypatch.setattr(loading_module, "_load", lambda *_: pytest.fail("the model was loaded"))
    events: list[Event] = []
    assert run_benchmark(asked, events.append) == first
    assert all(event.reused for event in of(MethodFinished, events))
    assert of(PlanMade, events)[0].minutes == 0


def test_seeds_are_trained_apart_on_the_same_cases(tmp_path: Path) -> None:
    results = run_benchmark(plan(tmp_path, "unused", ["popularity", "sasrec"], seeds=2))
    assert [(result.method, result.seed) for result in results] == [
        (method, seed) for seed in (0, 1) for method in ("popularity", "sasrec")
    ]
    assert len({result.samples_sha256 for result in results}) == 1
    ranks = [[case.rank for case in result.cases] for result in results]
    assert ranks[0] == ranks[2]  # popularity knows no seed
    assert ranks[1] != ranks[3]


def test_the_saved_run_ranks_every_case_as_its_result_says(tmp_path: Path, tiny_model: Path) -> None:
    (result,) = run_benchmark(plan(tmp_path, tiny_model, ["ilora"]))
    runs, problems = list_runs(tmp_path)
    assert not problems
    opened = open_run(runs[0].path)
    task = Task(opened.dataset, opened.samples, opened.info.config, 0, tmp_path)
    cases, _ = rank_cases(opened.recommender, task)
    assert tuple(cases) == result.cases


def test_methods_are_run_once_each_in_the_benchmarks_order(tmp_path: Path) -> None:
    asked = plan(tmp_path, "unused", ["sasrec", "popularity", "sasrec"])
    assert asked.ordered == ["popularity", "sasrec"]


# --- what counts as the same run ---------------------------------------------------------------------------


def test_a_methods_result_depends_on_its_own_settings_alone() -> None:
    config = tiny.config()
    more = with_overrides(config, training={"samples": 99})
    experts = with_overrides(config, adapter={"experts": 2})
    smaller = with_overrides(config, training={"micro_batch_size": 1, "checkpointing": True})
    other_cases = with_overrides(config, data={"samples_seed": 1})

    def changes(other: RunConfig) -> list[str]:
        return [method for method in METHODS if method_config(config, method) != method_config(other, method)]

    gated = ["ilora", *control_methods()]  # what asks the trained iLoRA has its settings
    assert changes(more) == ["tallrec", "llara", "lora", "lora-z", *gated]
    assert changes(experts) == gated
    assert changes(smaller) == []
    assert changes(other_cases) == list(METHODS)
    assert changes(with_overrides(config, model={"quantize": "int8"})) == list(LLM_METHODS)
    slotted = [
        "llara",
        "lora",
        "lora-z",
        *gated,
    ]  # what a prompt of text alone is asked depends on no encoder
    assert set(changes(with_overrides(config, encoder={"epochs": 7}))) == {*ENCODER_METHODS, *slotted}
    assert changes(with_overrides(config, encoder={"kind": "caser"})) == slotted


def test_results_under_other_settings_lie_beside_each_other(tmp_path: Path) -> None:
    run_benchmark(plan(tmp_path, "unused", ["sasrec"]))
    other = plan(tmp_path, "unused", ["sasrec"])
    run_benchmark(
        dataclasses.replace(other, config=with_overrides(other.config, encoder={"learning_rate": 5e-3}))
    )
    assert len(list((tmp_path / "results").glob("*.json"))) == 2


def test_another_objective_is_another_result(tmp_path: Path, tiny_model: Path) -> None:
    listwise = run_benchmark(plan(tmp_path, tiny_model, ["ilora"]))
    language = run_benchmark(plan(tmp_path, tiny_model, ["ilora"], objective="language-model"))
    assert (listwise[0].objective, language[0].objective) == ("listwise", "language-model")
    assert len(load_results(tmp_path)[0]) == 2


# --- stopping ----------------------------------------------------------------------------------------------


def stops_after(count: int) -> Any:
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > count

    return should_stop


@pytest.mark.parametrize("count", [0, 1, 3, 6, 8, 9])
def test_stopped_anywhere_it_goes_on_and_ends_with_the_same_ranks(
    tmp_path: Path, tiny_model: Path, count: int
) -> None:
    whole = run_benchmark(plan(tmp_path / "whole", tiny_model, ["sasrec", "ilora"]))
    asked = plan(tmp_path / "parts", tiny_model, ["sasrec", "ilora"])
    events: list[Event] = []
    with pytest.raises(Interrupted):
        run_benchmark(asked, events.append, stops_after(count))
    assert of(Stopped, events)
    half, problems = load_results(tmp_path / "parts")
    assert not problems
    assert len(half) < 2
    results = run_benchmark(asked)
    assert [result.cases for result in results] == [result.cases for result in whole]
    assert [result.parameters for result in results] == [result.parameters for result in whole]
    assert all(result.timings["train_seconds"] > 0 for result in results)


# --- ranks -------------------------------------------------------------------------------------------------


class Script(Recommender):
    """Scores by what the test wrote down."""

    name = "popularity"

    def __init__(self, score: Any) -> None:
        self.answer, self.asked = score, 0

    def fit(self, task: Task) -> FitReport:
        return FitReport()

    def score(self, histories: Any, candidates: Any) -> Any:
        self.asked += len(histories)
        return self.answer(histories, candidates)


def test_ties_count_against_a_method_and_each_case_is_scored_once(tmp_path: Path) -> None:
    task = tiny.task(tiny.config(), tmp_path)
    indifferent = Script(lambda histories, candidates: np.zeros((len(histories), 20), dtype=np.float32))
    cases, _ = rank_cases(indifferent, task)
    assert {case.rank for case in cases} == {20}
    assert indifferent.asked == 8  # `last` is part of `spread`
    assert len(cases) == 12


def test_a_method_that_knows_the_answer_ranks_first_wherever_it_stands(tmp_path: Path) -> None:
    task = tiny.task(tiny.config(), tmp_path)
    targets = {case.history: case.target for cases in task.samples.test.values() for case in cases}

    def answer(histories: Any, candidates: Any) -> Any:
        return np.array(
            [
                [float(item == targets[history]) for item in row]
                for history, row in zip(histories, candidates, strict=True)
            ]
        )

    cases, _ = rank_cases(Script(answer), task)
    assert {case.rank for case in cases} == {1}
    places = {case.candidates.index(case.target) for case in task.samples.test["spread"]}
    assert len(places) > 3


# --- bad plans ---------------------------------------------------------------------------------------------


def test_no_methods_no_seeds_and_unknown_methods_are_refused(tmp_path: Path) -> None:
    for methods, seeds, says in (
        ((), 1, "no methods"),
        (["popularity"], 0, "no seeds"),
        (["x"], 1, "method: x"),
    ):
        with pytest.raises(InputError, match=says):
            plan(tmp_path, "unused", methods, seeds)


@pytest.mark.usefixtures("nothing_runs")
def test_a_model_that_is_not_there_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        run_benchmark(plan(tmp_path / "out", tmp_path / "nowhere"))
    assert not (tmp_path / "out" / "results").exists()


@pytest.mark.usefixtures("nothing_runs")
def test_too_little_memory_is_refused_before_anything_is_trained(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading_module, "pick_device", lambda *_: torch.device("cpu"))
    monkeypatch.setattr(loading_module, "free_memory", lambda: 1000)
    with pytest.raises(ModelError, match="GiB are free"):
        run_benchmark(plan(tmp_path / "out", tiny_model))
    assert not (tmp_path / "out" / "results").exists()


def test_running_out_of_memory_is_one_line(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(AdapterJob, "loss", burst)
    with pytest.raises(InputError, match="lora ran out of memory"):
        run_benchmark(plan(tmp_path, tiny_model, ["lora"]))
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("content", ["{}", "not json", '{"format": 0}', ""])
def test_an_older_or_damaged_result_is_named_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    asked = plan(tmp_path, "unused", ["popularity"])
    with pytest.MonkeyPatch.context() as patch:
        paths: list[Path] = []
        patch.setattr(run_module, "known_result", lambda out, key, *_: paths.append(_path(out, key)))
        patch.setattr(run_module, "_run", lambda *_: (_ for _ in ()).throw(Interrupted))
        with pytest.raises(Interrupted):
            run_benchmark(asked)
    paths[0].parent.mkdir(parents=True)
    paths[0].write_text(content)
    with pytest.raises(ResultError) as caught:
        run_benchmark(asked)
    assert paths[0].name in caught.value.title
    assert paths[0].read_text() == content


def _path(out: Path, key: RunKey) -> Path:
    return result_path(out, *key)


def test_an_output_folder_that_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ResultError, match="is a file"):
        prepare_out(file)
    with pytest.raises(ResultError, match="cannot write to"):
        prepare_out(file / "below")
    assert file.read_text() == "mine"

    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ResultError, match="Permission denied"):
        prepare_out(tmp_path)


# --- estimates ---------------------------------------------------------------------------------------------


def test_the_estimate_grows_with_the_work(tiny_model: Path) -> None:
    config = tiny.config(tiny_model)
    dataset, samples = tiny.load(config)

    def minutes(config: RunConfig, *methods: str) -> float:
        return estimates.minutes(config, [(method, 0) for method in methods], dataset, samples)

    assert minutes(config, "popularity") == 0
    once, both = minutes(config, "lora"), minutes(config, "lora", "ilora")
    assert once < both < 2 * once  # the encoder is trained once for both
    assert minutes(with_overrides(config, training={"samples": 999}), "lora") > once
    assert minutes(config, "morec") > minutes(config, "sasrec") > 0
    assert minutes(with_overrides(config, encoder={"tune": True}), "gru4rec") == pytest.approx(
        len(TUNING_GRID) * minutes(config, "gru4rec")
    )


def test_every_event_of_a_benchmark_survives_json(tmp_path: Path, tiny_model: Path) -> None:
    events: list[Event] = []
    run_benchmark(plan(tmp_path, tiny_model, ["sasrec", "ilora"]), events.append)
    assert {type(event).__name__ for event in events} >= {
        "PlanMade", "StageStarted", "StepLogged", "Evaluated", "Saved", "MethodFinished", "Finished"
    }  # fmt: skip
    for event in events:
        assert Event.from_json(event.to_json()) == event
        json.loads(event.to_json(), parse_constant=pytest.fail)
    assert of(Saved, events)
    assert not [event for event in of(Notice, events) if event.level == "warning"]


# --- answers in words --------------------------------------------------------------------------------------


def asking(
    out: Path, model: Path, protocol: str, methods: Any = ("zero-shot", "tallrec", "ilora")
) -> list[Any]:
    made = plan(out, model, methods, objective="language-model")
    config = with_overrides(made.config, answering={"protocol": protocol})
    return run_benchmark(dataclasses.replace(made, config=config))


def test_written_answers_are_kept_and_everything_follows_from_them(tmp_path: Path, tiny_model: Path) -> None:
    samples = tiny.load(tiny.config())[1]
    asked = {(case.user, case.position): case for cases in samples.test.values() for case in cases}
    for result in asking(tmp_path, tiny_model, "generate"):
        assert result.protocol == "generate"
        assert result.objective == (None if result.method == "zero-shot" else "language-model")
        assert "HR@5" not in result.metrics["last"]
        for case in result.cases:
            assert case.answer is not None
            question = asked[case.user, case.position]
            found = read_answer(case.answer.text, [tiny.TITLES[item] for item in question.candidates])
            right = found.choice == question.candidates.index(question.target)
            assert (case.answer.valid, case.rank) == (found.valid, 1 if right else 20)
            assert case.answer.substring_valid == (found.substring_choice is not None)
    assert not load_results(tmp_path)[1]


def test_constrained_answers_are_all_valid(tmp_path: Path, tiny_model: Path) -> None:
    for result in asking(tmp_path, tiny_model, "constrained"):
        for values in result.metrics.values():
            assert values["ValidRatio"].value == 1
            assert values["HR@1 of valid"].value == values["HR@1"].value


def test_a_saved_run_writes_the_answers_that_its_result_keeps(tmp_path: Path, tiny_model: Path) -> None:
    (result,) = asking(tmp_path, tiny_model, "generate", ["llara"])
    opened = open_run(list_runs(tmp_path)[0][0].path)
    task = Task(opened.dataset, opened.samples, opened.info.config, 0, tmp_path)
    assert tuple(rank_cases(opened.recommender, task)[0]) == result.cases


def test_methods_that_are_an_objective_keep_it_whatever_the_run_says(
    tmp_path: Path, tiny_model: Path
) -> None:
    tallrec, llara, lora = run_benchmark(plan(tmp_path, tiny_model, ["tallrec", "llara", "lora"]))
    assert [result.objective for result in (tallrec, llara, lora)] == [
        "language-model",
        "language-model",
        "listwise",
    ]
    assert tallrec.config["training"]["item_slots"] is False
    assert llara.config["training"]["curriculum"] is True
    assert tallrec.config["training"]["samples"] == lora.config["training"]["samples"]
    projector = 16 * 64 + 64
    assert tallrec.parameters.trainable == tallrec.parameters.adapter
    assert llara.parameters.trainable == llara.parameters.adapter + projector
