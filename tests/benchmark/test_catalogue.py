"""The whole catalogue: all that is new to a user is ranked, and a language model gets the best of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from core.benchmark import catalogue, estimates
from core.benchmark.catalogue import Pool, reranks
from core.benchmark.choosing import choose
from core.benchmark.costs import Stage
from core.benchmark.evaluate import evaluate_run
from core.benchmark.run import Plan, run_benchmark
from core.benchmark.testing import ask_all
from core.config.choices import ENCODERS
from core.config.settings import RunConfig
from core.data.loading import load_task_data
from core.evaluation.metrics import OF_RETRIEVED, RETRIEVED, metrics_for
from core.methods import local_methods
from core.recommenders import adapter as adapter_module
from core.recommenders.base import FitReport, Recommender, Task
from core.recommenders.registry import method_class
from core.results.format import Result, disagreement
from core.results.rankings import load_rankings
from core.results.store import load_result, load_results, result_path
from core.results.tables import group_tables
from core.runs.store import run_folder
from ilora_app.cli import main
from tests import tiny

pytestmark = pytest.mark.usefixtures("tiny_home")


def settings(model: Path | str = "tiny-llama", retrieve: int = 10, **training: Any) -> RunConfig:
    config = tiny.config(model, **{"samples": 8, **training})
    data = dataclasses.replace(config.data, candidates="catalogue", retrieve=retrieve)
    return dataclasses.replace(config, data=data)


def bench(out: Path, config: RunConfig, *methods: str) -> list[Result]:
    return run_benchmark(Plan(config, methods, (0,), out, "quick", "ilora-app bench"))


class Scripted(Recommender):
    """Scores items by a table."""

    def __init__(self, name: str, of_item: Any) -> None:
        self.name = name  # type: ignore[misc]
        self.of_item = np.asarray(of_item, dtype=np.float32)

    def fit(self, task: Task) -> FitReport:
        return FitReport()

    def score(self, histories: Any, candidates: Any) -> Any:
        return self.of_item[np.asarray(candidates)]


def test_every_local_method_ranks_it_and_only_language_models_are_passed_a_choice(
    tmp_path: Path, tiny_model: Path
) -> None:
    results = bench(tmp_path, settings(tiny_model), *local_methods())
    (table,) = group_tables(results)
    assert table.whole and len(table.rows) == len(local_methods())
    for result in results:
        assert disagreement(result) is None
        assert result.whole and result.retrieve == (10 if reranks(result.method) else None)
        load_rankings(result, result_path(tmp_path, *result.key))
        for values in result.metrics.values():
            assert {"HR@1", "HR@5", "HR@10", "HR@20", "NDCG@5", "NDCG@10", "NDCG@20", "MRR"} <= values.keys()
            if reranks(result.method):
                assert values["HR@10"].value == pytest.approx(values[RETRIEVED].value)  # all ten are ranked
                missed = [case for case in result.cases if not case.retrieved]
                assert missed and all(case.rank > 20 for case in missed)
                product = values[RETRIEVED].value * values[OF_RETRIEVED].value
                assert values["HR@1"].value == pytest.approx(product)
            else:
                assert RETRIEVED not in values
    assert table.pairs("spread", "HR@20") and table.pairs("spread", "NDCG@5")


@pytest.mark.parametrize("method", ["popularity", *ENCODERS, "morec"])
def test_the_catalogue_scored_at_once_has_the_scores_of_candidates(
    method: str, tmp_path: Path, tiny_model: Path
) -> None:
    task = tiny.task(settings(tiny_model), tmp_path)
    recommender = method_class(method)()
    recommender.fit(task)
    histories = tiny.histories(5)
    whole = recommender.score_all(histories, tiny.ITEMS)
    candidates = tiny.candidates(5)
    found = np.take_along_axis(whole, np.asarray(candidates), axis=1)
    np.testing.assert_allclose(found, recommender.score(histories, candidates), rtol=1e-4, atol=1e-5)


def test_ranks_do_not_depend_on_how_many_cases_are_scored_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (together,) = bench(tmp_path / "together", settings(), "popularity")
    monkeypatch.setattr(catalogue, "SCORED", 3 * tiny.ITEMS)
    (apart,) = bench(tmp_path / "apart", settings(), "popularity")
    assert together.cases == apart.cases and together.rankings_sha256 == apart.rankings_sha256


def test_all_that_the_user_has_not_had_before_is_ranked_and_nothing_else(tmp_path: Path) -> None:
    config = settings()
    dataset, samples = load_task_data(config.data)
    scores = np.linspace(1, 0, tiny.ITEMS)
    task = Task(dataset, samples, config, 0, tmp_path)
    tested = ask_all(Scripted("popularity", scores), task)
    ranks = {case.place: case.rank for case in tested.cases}
    for place, case in samples.asked.items():
        had = set(dataset.sequences[case.user].items[: case.position].tolist())
        better = [item for item in range(case.target) if item not in had]
        assert ranks[place] == 1 + len(better)
    for ranked in tested.rankings:
        had = set(dataset.sequences[ranked.user].items[: ranked.position].tolist()) - {ranked.target}
        assert not had & set(ranked.items.tolist())


def test_equal_scores_count_against_the_target(tmp_path: Path) -> None:
    config = settings()
    dataset, samples = load_task_data(config.data)
    task = Task(dataset, samples, config, 0, tmp_path)
    indifferent = Scripted("popularity", np.zeros(tiny.ITEMS))
    pool = Pool(indifferent, task)
    for case, ranked in zip(samples.asked.values(), ask_all(indifferent, task).rankings, strict=True):
        assert ranked.ranks[ranked.items == case.target][0] == len(pool.of(case))


def test_a_passed_choice_is_the_encoders_best_in_an_order_that_tells_nothing(
    tmp_path: Path, tiny_model: Path
) -> None:
    config = settings(tiny_model)
    (sasrec, lora) = bench(tmp_path, config, "sasrec", "lora")
    top = load_rankings(sasrec, result_path(tmp_path, *sasrec.key))
    passed = load_rankings(lora, result_path(tmp_path, *lora.key))
    for place, rows in passed.rows().items():
        best = [top.item[row] for row in top.rows()[place]][:10]
        kept = [passed.item[row] for row in rows if not np.isnan(passed.score[row])]
        assert sorted(kept) == sorted(best)
    by_rank = {case.place: case.rank for case in sasrec.cases}
    assert {case.place for case in lora.cases if case.retrieved} == {
        place for place, rank in by_rank.items() if rank <= 10
    }


def test_a_model_that_is_passed_everything_scores_what_it_scores_in_parts(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = bench(tmp_path / "whole", settings(tiny_model, retrieve=0), "lora")
    monkeypatch.setattr(adapter_module, "LONGEST_ROW", 7)
    (parts,) = bench(tmp_path / "parts", settings(tiny_model, retrieve=0), "lora")
    assert whole.cases == parts.cases and whole.retrieve is None


def test_with_item_tokens_one_pass_ranks_all_of_it(tmp_path: Path, tiny_model: Path) -> None:
    config = settings(tiny_model, retrieve=0, item_tokens=True, encoder_prior=False)
    (result,) = bench(tmp_path, config, "ilora")
    assert result.whole and result.retrieve is None
    assert result.config["training"]["item_tokens"] is True


def test_it_never_meets_results_of_twenty_candidates(tmp_path: Path) -> None:
    config = settings()
    twenty = dataclasses.replace(config, data=dataclasses.replace(config.data, candidates="20"))
    results = bench(tmp_path, config, "sasrec") + bench(tmp_path, twenty, "sasrec")
    assert len({result_path(tmp_path, *result.key) for result in results}) == 2
    assert len(group_tables(results)) == 2
    assert list(results[1].metrics["spread"]) == list(metrics_for(whole=False))
    before = load_result(result_path(tmp_path, *results[1].key))
    assert before.cases == results[1].cases and not before.whole


def test_a_model_that_was_trained_for_twenty_candidates_is_not_trained_again(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tiny_model)
    twenty = dataclasses.replace(config, data=dataclasses.replace(config.data, candidates="20", retrieve=100))
    (anew,) = bench(tmp_path / "anew", config, "lora")
    (before,) = bench(tmp_path / "both", twenty, "lora")
    with monkeypatch.context() as patch:
        patch.setattr(adapter_module, "train", lambda *_: pytest.fail("trained again"))
        (taken,) = bench(tmp_path / "both", config, "lora")
    assert taken.cases == anew.cases
    assert taken.timings["train_seconds"] == before.timings["train_seconds"]
    other = dataclasses.replace(config.data, validation_positions=1)
    trained = MagicMock(wraps=adapter_module.train)
    monkeypatch.setattr(adapter_module, "train", trained)
    bench(tmp_path / "both", dataclasses.replace(config, data=other), "lora")
    trained.assert_called_once()


def test_one_command_gives_both_tables_with_what_is_beyond_hits_and_trains_once(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = MagicMock(wraps=adapter_module.train)
    monkeypatch.setattr(adapter_module, "train", trained)
    fixed = "bench --dataset tiny --preset quick --methods popularity,sasrec,ilora,mean-gate --quantize none"
    asked = "--candidates 20,catalogue --retrieve 12 --samples 16 --layers 2"
    with pytest.raises(SystemExit) as ended:
        main([*fixed.split(), *asked.split(), "--model", str(tiny_model), "--out", str(tmp_path)])
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    trained.assert_called_once()
    results, problems = load_results(tmp_path)
    assert not problems
    assert sorted(result.whole for result in results) == [False] * 4 + [True] * 4
    for words in ("Coverage", "rank_biased_overlap", "whole catalogue", "spread"):
        assert words in said.out


def test_a_model_trained_for_twenty_is_not_counted_in_the_time_of_both(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, twenty = settings(tiny_model), dataclasses.replace(settings(tiny_model), data=tiny.config().data)
    whole = dataclasses.replace(whole, data=dataclasses.replace(twenty.data, candidates="catalogue"))
    of_run = [Stage("train", "lora", 600), Stage("test", "lora", 60)]
    monkeypatch.setattr(estimates, "stages", lambda *_: [of_run])
    load = lambda *_: (None, None)  # noqa: E731
    for configs, minutes in (([twenty, whole], 12), ([whole], 11), ([twenty, twenty], 22)):
        found = choose(lambda _, asked=configs: asked, [("lora", 0)], load=load)  # type: ignore[misc]
        assert f"about {minutes} min" in found.why


def test_a_saved_run_gives_its_figures_again(tmp_path: Path, tiny_model: Path) -> None:
    (lora,) = bench(tmp_path, settings(tiny_model), "lora")
    found = evaluate_run(run_folder(tmp_path, *lora.key))
    assert found.agrees and found.moved == 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--retrieve", "41"), "more than the 40 items"),
        (("--retrieve", "many"), "--retrieve must be a whole number"),
        (("--retrieve", "-1"), "--retrieve is -1"),
        (("--candidates", "30"), "30"),
        (("--candidates", "20,30"), "20,30"),
        (("--candidates", "20,catalogue", "--budget", "5"), "two tables"),
        (("--objective", "language-model", "--protocol", "generate"), "no ranking of a catalogue"),
        (("--objective", "language-model", "--retrieve", "all"), "lists its candidates"),
    ],
)
def test_bad_input_is_one_line(
    asked: tuple[str, ...], said: str, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        fixed = "bench --dataset tiny --preset quick --candidates catalogue --methods lora --quantize none"
        main([*fixed.split(), "--model", str(tiny_model), "--out", str(tmp_path), *asked])
    complaint = capsys.readouterr().err
    assert ended.value.code == 2 and said in complaint and complaint.count("error:") == 1


def test_its_metrics_asked_of_twenty_candidates_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings()
    bench(tmp_path, dataclasses.replace(config, data=tiny.config().data), "popularity", "sasrec")
    with pytest.raises(SystemExit) as ended:
        main(["results", "--out", str(tmp_path), "--pairs", "--metric", "HR@20"])
    assert ended.value.code == 2 and "whole catalogue" in capsys.readouterr().err


def test_published_figures_of_twenty_candidates_do_not_stand_beside_it(tmp_path: Path) -> None:
    from core.data.cards import Reported
    from ilora_app.render.export import table_record
    from ilora_app.render.leaderboard import Leaderboard

    published = [Reported(method="SASRec", hit_ratio_at_1=0.344, valid_ratio=None, source="a paper")]
    config = settings()
    twenty = dataclasses.replace(config, data=tiny.config().data)
    (whole,) = group_tables(bench(tmp_path, config, "sasrec"))
    (sampled,) = group_tables(bench(tmp_path, twenty, "sasrec"))
    assert Leaderboard(sampled, published).reported and not Leaderboard(whole, published).reported
    assert table_record(sampled, published)["reported"] and not table_record(whole, published)["reported"]


def test_the_table_names_the_choice_and_its_ceiling(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench(tmp_path, settings(tiny_model), "sasrec", "lora")
    for width, metrics in ((79, ("HR@10", "NDCG@10")), (200, ("HR@20", "NDCG@5"))):
        monkeypatch.setenv("COLUMNS", str(width))
        with pytest.raises(SystemExit):
            main(["results", "--out", str(tmp_path)])
        told = capsys.readouterr().out
        assert "whole catalogue" in told and "What an encoder passed on" in told
        assert all(metric in told for metric in metrics)
        assert max(map(len, told.splitlines())) <= width
    with pytest.raises(SystemExit) as ended:
        main(["results", "--out", str(tmp_path), "--report"])
    assert ended.value.code == 0
    assert RETRIEVED in (tmp_path / "report.md").read_text(encoding="utf-8")
