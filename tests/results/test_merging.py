"""Several folders read as one, and copied into one, without a figure lost or replaced."""

from __future__ import annotations

import numpy as np
import pytest

from core.data.types import Samples
from core.errors import ResultError
from core.results.case_facts import save_experts, save_facts
from core.results.merging import experts_for, facts_for, load_folders, merge, restricted
from core.results.store import load_results, result_path, save_result
from core.results.tables import group_tables
from tests.made_up import case_facts, cases, result


@pytest.fixture
def two(tmp_path):
    one, other = result("lora"), result("ilora")
    save_result(one, tmp_path / "a")
    path = save_result(other, tmp_path / "b")
    places = [(case.user, case.position) for case in other.cases if case.set == "spread"]
    samples = Samples("movielens", "paper", 0, (), (), {}, other.samples_sha256)
    save_facts(case_facts(places), samples, tmp_path / "b")
    save_experts(places, np.full((len(places), 4), 0.25), tmp_path / "b", path)
    return tmp_path / "a", tmp_path / "b"


def test_two_folders_make_one_table(two):
    results, problems = load_folders(two)
    assert not problems
    (table,) = group_tables(results)
    assert {row.method for row in table.rows} == {"lora", "ilora"}
    assert len(facts_for(two, table)) == 280
    assert experts_for(two, table.rows[0].first) or experts_for(two, table.rows[1].first)


def test_the_same_run_in_two_folders_counts_once_and_other_figures_are_named(two, tmp_path):
    save_result(result("lora"), two[1])
    assert len(load_folders(two)[0]) == 2 and not load_folders(two)[1]
    changed = result("lora", cases=cases(0.9))
    save_result(changed, tmp_path / "c")
    results, problems = load_folders([*two, tmp_path / "c"])
    assert changed not in results
    assert len(problems) == 1 and "other figures" in problems[0]


def test_a_merge_copies_results_with_what_belongs_to_them_byte_for_byte(two, tmp_path):
    target = tmp_path / "all"
    assert merge(two, target).results == 2
    assert merge(two, target).results == 0
    assert load_results(target)[0] != []
    for source in two:
        for path in source.rglob("*.json"):
            assert (target / path.relative_to(source)).read_bytes() == path.read_bytes()


def test_a_merge_replaces_nothing(two, tmp_path):
    target = tmp_path / "all"
    own = result("lora", cases=cases(0.9))
    save_result(own, target)
    merged = merge(two, target)
    assert merged.results == 1 and "other figures" in merged.problems[0]
    assert own in load_results(target)[0]


def test_what_cannot_be_merged_is_an_error(two, tmp_path):
    with pytest.raises(ResultError, match="no folder"):
        merge([tmp_path / "nowhere"], tmp_path / "all")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultError, match="no results"):
        merge([tmp_path / "empty"], tmp_path / "all")


def test_results_can_be_restricted(two):
    results, _ = load_folders(two)
    assert [made.method for made in restricted(results, ["lora"])] == ["lora"]
    assert restricted(results, split="leave-one-out") == []
    for made in restricted(results, test_set="last"):
        assert set(made.metrics) == {"last"} == {case.set for case in made.cases}
    assert result_path(two[0], "movielens", "paper", "lora", 0, results[0].config_sha256).exists()
