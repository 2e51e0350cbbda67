"""Results of methods that answer in words: what is measured, over whom, and that anybody can check it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from core.errors import ResultError
from core.evaluation.metrics import METRICS, answer_metrics
from core.evaluation.statistics import bootstrap, bootstrap_ratio
from core.results.format import Case, CaseAnswer, Result, disagreement, measure
from core.results.tables import group_tables
from tests.made_up import answered, result


def case(user: int, rank: int, valid: bool, within: bool = False, hit: bool = False) -> Case:
    return Case("last", str(user), 5, rank, CaseAnswer("Fargo", valid, within, hit))


def test_invalid_answers_count_in_the_hit_ratio_and_not_in_that_of_the_valid() -> None:
    """The official code divides by the valid answers only and calls it the hit ratio."""
    found = measure(
        [case(1, 1, True, True, True), case(2, 20, True), case(3, 20, False, True), case(4, 20, False)]
    )["last"]
    assert {name: value.value for name, value in found.items()} == {
        "HR@1": 0.25,
        "HR@1 of valid": 0.5,
        "ValidRatio": 0.5,
        "HR@1 of valid (substring)": 0.5,
        "ValidRatio (substring)": 0.5,
    }
    assert {name: value.n for name, value in found.items() if "of valid" in name} == {
        "HR@1 of valid": 2,
        "HR@1 of valid (substring)": 2,
    }
    assert all(value.n == 4 for name, value in found.items() if "of valid" not in name)


def test_without_a_valid_answer_their_hit_ratio_is_left_out() -> None:
    found = measure([case(1, 20, False), case(2, 20, False)])["last"]
    assert list(found) == ["HR@1", "ValidRatio", "ValidRatio (substring)"]
    assert found["ValidRatio"].value == 0


def test_one_answer_gives_no_ranking_so_nothing_is_said_of_deeper_places() -> None:
    made = answered()
    for values in made.metrics.values():
        assert list(values) == list(answer_metrics())
    assert not {"HR@5", "NDCG@10", "MRR"} & set(made.metrics["spread"])


def test_the_file_keeps_every_answer_and_comes_back_as_it_was() -> None:
    made = answered()
    record = json.loads(made.to_json())
    assert set(record["cases"][0]["answer"]) == {"text", "valid", "substring_valid", "substring_hit"}
    assert Result.from_json(made.to_json()) == made
    assert disagreement(made) is None
    assert made.protocol == "generate"
    assert "answer" not in json.loads(result().to_json())["cases"][0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"valid": 1}, "answer.valid must be true or false"),
        ({"text": None}, "answer.text must be text"),
        ({"more": 1}, "has unknown more"),
        ({"valid": False}, "right but not valid"),
    ],
)
def test_a_damaged_answer_is_named(change: dict[str, object], says: str) -> None:
    record = json.loads(answered(strength=1.0).to_json())
    record["cases"][0]["answer"] |= change
    with pytest.raises(ResultError, match=says):
        Result.from_json(json.dumps(record))


def test_a_set_is_answered_in_words_as_a_whole() -> None:
    record = json.loads(answered().to_json())
    del record["cases"][3]["answer"]
    with pytest.raises(ResultError, match="lacks its answer"):
        Result.from_json(json.dumps(record))


def test_an_edited_answer_is_noticed() -> None:
    made = answered()
    place = next(i for i, case in enumerate(made.cases) if case.rank > 1 and case.answer.valid)
    flipped = dataclasses.replace(made.cases[place].answer, valid=False)
    cases = list(made.cases)
    cases[place] = dataclasses.replace(cases[place], answer=flipped)
    edited = dataclasses.replace(made, cases=tuple(cases))
    assert "of valid" in (disagreement(edited) or "")
    short = {name: dict(values) for name, values in made.metrics.items()}
    del short["last"]["HR@1 of valid"]
    assert disagreement(dataclasses.replace(made, metrics=short))


def test_rows_of_rankings_and_of_answers_share_a_table_and_are_labelled() -> None:
    rank = {"config": {"method": "ilora", "rank": 16, "answering": {"protocol": "rank"}}}
    (table,) = group_tables([answered("ilora"), result("ilora", **rank), result("sasrec")])
    assert {row.label for row in table.rows} >= {"sasrec"}
    labels = sorted(row.label for row in table.rows if row.method == "ilora")
    assert "generate" in labels[0] and "rank" in labels[1]
    row = next(row for row in table.rows if row.first.protocol == "generate")
    assert set(METRICS) & set(row.metrics["spread"]) == {"HR@1"}
    assert table.compare(row, table.rows[0], "spread").n == 280
    with pytest.raises(ResultError, match="not a figure of single cases"):
        row.values("spread", "ValidRatio")


def test_seeds_are_pooled_in_the_ratio_of_the_valid() -> None:
    runs = [answered("lora", seed) for seed in (0, 1)]
    (table,) = group_tables(runs)
    found = table.rows[0].metrics["spread"]["HR@1 of valid"]
    cases = [case for run in runs for case in run.cases if case.set == "spread"]
    hits = sum(case.rank == 1 for case in cases)
    assert found.value == pytest.approx(hits / sum(case.answer.valid for case in cases))
    assert found.seeds == 2


def test_a_ratio_over_everything_is_the_mean_and_over_nothing_is_refused() -> None:
    stream = np.random.default_rng(0)
    hits, users = stream.random(60) < 0.4, [str(place // 3) for place in range(60)]
    plain, ratio = bootstrap(hits, users), bootstrap_ratio(hits, np.ones(60), users)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((plain.value, plain.low, plain.high))
    with pytest.raises(ValueError, match="no case counts"):
        bootstrap_ratio(np.zeros(60), np.zeros(60), users)
    rare = bootstrap_ratio([1, 0, 0], [1, 0, 0], ["1", "2", "3"])
    assert rare.value == 1
    assert np.isnan(rare.low)  # a draw without its one valid case says nothing
