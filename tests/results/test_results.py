"""A result file keeps everything, is believed only if it adds up, and meets only its equals in a table."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ResultError
from core.results.checking import config_sha256
from core.results.format import Case, Result, disagreement, measure, recompute
from core.results.store import load_result, load_results, save_result
from core.results.tables import group_tables
from tests.made_up import STRENGTHS, cases, five_methods, result, with_ranks

some_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
some_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
some_cases = st.lists(
    st.builds(Case, st.sampled_from(["spread", "last"]), some_text, st.integers(0, 500), st.integers(1, 20)),
    min_size=1,
    max_size=12,
    unique_by=lambda case: (case.set, case.user, case.position),
).map(tuple)
some_results = st.builds(
    lambda asked, config, seed, notes: result(cases=asked, seed=seed, config=config, notes=tuple(notes)),
    some_cases,
    st.dictionaries(st.text(), some_json, max_size=4),
    st.integers(0, 2**31),
    st.lists(some_text, max_size=2),
)


# --- the file -------------------------------------------------------------------------------------------


@given(some_results)
@settings(max_examples=25, deadline=None)
def test_what_is_read_is_what_was_written(made):
    assert Result.from_json(made.to_json()) == made


@given(some_results)
@settings(max_examples=25, deadline=None)
def test_every_stored_metric_can_be_recomputed_from_the_cases(made):
    assert recompute(made) == made.metrics
    assert disagreement(made) is None


def test_the_file_has_the_promised_keys_and_a_telling_name(tmp_path):
    made = result()
    path = save_result(made, tmp_path)
    assert path == tmp_path / "results" / f"movielens.paper.ilora.seed0.{made.config_sha256[:8]}.json"
    assert set(json.loads(path.read_text())) == {
        *("format", "dataset", "split", "method", "objective", "model", "quantization", "preset", "seed"),
        *("config", "config_sha256", "samples_sha256", "metrics", "cases", "parameters", "timings"),
        *("peak_memory_bytes", "versions", "command", "created", "history", "notes"),
    }
    assert load_result(path) == made
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_gpu_memory_is_in_the_file_where_there_was_a_gpu():
    made = dataclasses.replace(result(), peak_gpu_memory_bytes=7)
    assert json.loads(made.to_json())["peak_gpu_memory_bytes"] == 7
    assert Result.from_json(made.to_json()) == made
    with pytest.raises(ResultError, match="peak_gpu_memory_bytes"):
        Result.from_json(made.to_json().replace('"peak_gpu_memory_bytes": 7', '"peak_gpu_memory_bytes": -7'))


def test_a_metric_carries_its_interval_and_its_cases():
    spread = result().metrics["spread"]["HR@1"]
    assert spread.n == 280
    assert spread.low < spread.value < spread.high


def test_one_user_has_no_interval_in_the_file():
    lonely = result(cases=(Case("last", "1", 9, 2),))
    assert lonely.metrics["last"]["MRR"].low is None
    assert Result.from_json(lonely.to_json()) == lonely


def test_the_config_checksum_ignores_the_order_of_keys():
    assert config_sha256({"a": 1, "b": [2]}) == config_sha256({"b": [2], "a": 1}) != config_sha256({"a": 1})


def test_what_json_cannot_hold_is_not_written(tmp_path):
    with pytest.raises(ValueError):
        save_result(result(timings={"train_seconds": math.nan}), tmp_path)
    assert not (tmp_path / "results").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(ResultError, match="cannot write") as caught:
        save_result(result(), tmp_path)
    assert "--out" in caught.value.hint


# --- damaged, old and edited files ----------------------------------------------------------------------


def changed(**changes) -> str:
    """A result's text with some keys replaced, or removed where the new value is `...`."""
    record = {**json.loads(result().to_json()), **changes}
    return json.dumps({key: value for key, value in record.items() if value is not ...})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format": 0}, "older version"),
        ({"format": ...}, "older version"),
        ({"format": "1"}, "older version"),
        ({"format": True}, "older version"),
        ({"format": 2}, "newer version"),
        ({"seed": ...}, "lacks seed"),
        ({"colour": "red"}, "unknown colour"),
        ({"seed": "0"}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"method": ""}, "method must be text"),
        ({"peak_memory_bytes": -1}, "peak_memory_bytes"),
        ({"timings": {"train_seconds": "long"}}, "timings.train_seconds"),
        ({"parameters": {"trainable": 1}}, "parameters lacks adapter, extra_over_lora, total"),
        ({"metrics": {"last": {}}}, "metrics.last lacks HR@1"),
        ({"cases": []}, "cases must be a list that is not empty"),
        ({"cases": [{"set": "last", "user": "1", "position": 3, "rank": 0}]}, r"cases\[0\].rank"),
        ({"cases": [{"set": "last", "user": "1", "position": 3, "rank": 1}] * 2}, "more than once"),
        ({"config": {"rank": 9}}, "config_sha256"),
        ({"history": [3]}, r"history\[0\]"),
    ],
)
def test_a_file_that_breaks_the_format_says_where(changes, complaint):
    with pytest.raises(ResultError, match=complaint) as caught:
        Result.from_json(changed(**changes), "some.json")
    assert caught.value.title.startswith("some.json: ")
    assert "\n" not in caught.value.title
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": NaN}', '{"format": 1e999}', "[" * 100_000]
)
def test_damaged_json_is_a_result_error(text):
    with pytest.raises(ResultError):
        Result.from_json(text)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_no_damage_escapes_as_another_error(data):
    text = SMALL.to_json()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    damaged = text[:start] + data.draw(st.text(max_size=5)) + text[end:]
    try:
        assert isinstance(Result.from_json(damaged), Result)
    except ResultError as error:
        assert error.hint


@given(some_json)
@settings(max_examples=60, deadline=None)
def test_no_json_escapes_as_another_error(value):
    for key in json.loads(SMALL.to_json()):
        try:
            Result.from_json(json.dumps({**json.loads(SMALL.to_json()), key: value}))
        except ResultError as error:
            assert error.hint


def test_a_file_whose_metrics_do_not_follow_from_its_cases_is_reported(tmp_path):
    save_result(result("lora"), tmp_path)
    path = save_result(result("ilora"), tmp_path)
    record = json.loads(path.read_text())
    record["metrics"]["spread"]["HR@1"]["value"] += 0.01
    path.write_text(json.dumps(record))
    results, problems = load_results(tmp_path)
    assert [found.method for found in results] == ["lora"]
    assert len(problems) == 1
    assert path.name in problems[0] and "HR@1 on spread" in problems[0]


def test_one_bad_file_does_not_hide_the_others(tmp_path):
    good = save_result(result("lora"), tmp_path)
    (good.parent / "torn.json").write_text(good.read_text()[:500])
    (good.parent / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (good.parent / "copy.json").write_text(good.read_text())
    (good.parent / ".half.part-1234.json").write_text("{")
    results, problems = load_results(tmp_path)
    assert len(results) == 1
    assert sorted(problem.split(":")[0] for problem in problems)[:2] == [
        "bytes.json",
        "movielens" + good.name[9:],
    ]
    assert len(problems) == 3


def test_a_missing_folder_holds_nothing_and_a_file_is_no_folder(tmp_path):
    assert load_results(tmp_path / "nowhere") == ([], [])
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="not a folder"):
        load_results(tmp_path / "file")


# --- tables ---------------------------------------------------------------------------------------------


def test_one_table_with_the_best_row_first():
    (table,) = group_tables(five_methods())
    assert (table.dataset, table.split, table.sets) == ("movielens", "paper", {"spread": 280, "last": 28})
    assert {row.label for row in table.rows} == set(STRENGTHS)
    hits = [row.metrics["spread"]["HR@1"].value for row in table.rows]
    assert hits == sorted(hits, reverse=True)
    assert table.best("spread") is table.rows[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"samples_sha256": "00" * 32},
        {"dataset": "lastfm"},
        {"split": "leave-one-out"},
        {"cases": cases(0.4, users=20)},
        {"cases": cases(0.4, positions=8)},
    ],
)
def test_results_that_met_other_cases_are_never_in_one_table(changes):
    tables = group_tables([result("lora"), result("ilora", **changes)])
    assert [len(table.rows) for table in tables] == [1, 1]


def test_the_same_cases_in_another_order_still_pair():
    ours, theirs = result("ilora"), result("lora")
    turned = dataclasses.replace(theirs, cases=theirs.cases[::-1])
    (straight,), (mixed,) = group_tables([ours, theirs]), group_tables([ours, turned])
    assert straight.compare(*straight.rows, "spread") == mixed.compare(*mixed.rows, "spread")


def test_seeds_of_one_config_share_a_row():
    runs = [result("ilora", seed) for seed in (2, 0, 1)]
    (table,) = group_tables(runs)
    (row,) = table.rows
    assert row.seeds == (0, 1, 2)
    found = row.metrics["spread"]["HR@1"]
    assert (found.n, found.users, found.seeds) == (280, 28, 3)
    assert found.value == pytest.approx(sum(run.metrics["spread"]["HR@1"].value for run in runs) / 3)
    assert found.seed_std > 0


def test_one_seed_shows_exactly_what_its_file_says():
    made = result("ilora")
    (table,) = group_tables([made])
    stored, shown = made.metrics["spread"]["MRR"], table.rows[0].metrics["spread"]["MRR"]
    assert (stored.value, stored.low, stored.high, stored.n) == (shown.value, shown.low, shown.high, shown.n)


def test_two_configs_of_a_method_are_two_rows_named_by_what_differs():
    quick, paper = result("ilora"), result("ilora", preset="paper", config={"preset": "paper"})
    other = result("ilora", config={"preset": "quick", "rank": 4})
    assert {row.label for row in group_tables([quick, paper])[0].rows} == {"ilora (quick)", "ilora (paper)"}
    assert {row.label for row in group_tables([quick, other])[0].rows} == {
        f"ilora {run.config_sha256[:8]}" for run in (quick, other)
    }


def test_an_ablations_rows_are_named_by_the_settings_that_differ():
    def with_gate(kind, experts):
        config = {"gate": {"kind": kind, "scope": "shared"}, "adapter": {"experts": experts}}
        return result("ilora", config=config)

    grid = [with_gate(kind, experts) for kind in ("softmax", "mlp") for experts in (2, 4)]
    assert {row.label for row in group_tables(grid)[0].rows} == {
        f"ilora (experts {experts}, gate {kind})" for kind in ("softmax", "mlp") for experts in (2, 4)
    }


def test_one_thing_at_a_time_is_named_by_what_was_changed():
    base = {"kind": "softmax", "scope": "shared", "input": "sequence", "kept": 2, "noise": 1.0}
    changes = [{}, {"kind": "mlp"}, {"scope": "per-layer"}, {"input": "items"}, {"kept": 3}, {"noise": 0.5}]
    runs = [result("ilora", config={"gate": base | change}) for change in changes]
    assert {row.label for row in group_tables(runs)[0].rows} == {
        "ilora",
        "ilora (gate mlp)",
        "ilora (gate scope per-layer)",
        "ilora (gate input items)",
        "ilora (kept 3)",
        "ilora (noise 0.5)",
    }
    (table,) = group_tables([*runs, result("lora")])
    assert table.pair("ilora", "lora")[0].label == "ilora"  # what the others were changed from


def test_models_are_named_by_their_last_part_unless_that_is_the_same():
    one, two = (result("ilora", model=f"/home/{who}/model-1B", config={"who": who}) for who in ("ann", "bob"))
    small = result("ilora", model="hub/model-135M", config={"who": "hub"})
    assert {row.label for row in group_tables([one, small])[0].rows} == {
        "ilora (model-1B)",
        "ilora (model-135M)",
    }
    assert len({row.label for row in group_tables([one, two])[0].rows}) == 2


def test_rows_level_with_the_best_are_found_by_a_paired_test():
    best = result("ilora", cases=cases(0.5, seed=1))
    hit = next(place for place, case in enumerate(best.cases) if case.rank == 1 and case.set == "spread")
    twin = with_ranks(dataclasses.replace(best, method="lora"), {hit: 2})
    (table,) = group_tables([best, twin, result("popularity")])
    assert table.best("spread").method == "ilora"
    assert [row.method for row in table.level_with_best("spread")] == ["lora"]


def test_ilora_is_paired_with_the_lora_that_was_run_the_same_way():
    lora = result("lora", config={"rank": 16, "rate": 1e-3})
    slow = result("lora", config={"rank": 16, "rate": 1e-5})
    full = result("lora", quantization="none", config={"rank": 16, "rate": 1e-3, "quantization": "none"})
    ilora = result("ilora", config={"rank": 16, "rate": 1e-3, "experts": 4})
    (table,) = group_tables([slow, full, lora, ilora])
    ours, reference = table.pair("ilora", "lora")
    assert (ours.first, reference.first) == (ilora, lora)
    assert group_tables([full, ilora])[0].pair("ilora", "lora") is None


def test_the_newest_pair_is_compared_not_the_luckiest():
    lucky = result("ilora", cases=cases(0.9), created="2026-01-01T00:00:00+00:00", config={"rank": 8})
    newest = result("ilora", cases=cases(0.2), created="2026-02-01T00:00:00+00:00", config={"rank": 16})
    (table,) = group_tables([lucky, newest, result("lora")])
    assert table.rows[0].first is lucky
    assert table.pair("ilora", "lora")[0].first is newest


def test_a_control_of_the_gate_never_stands_for_the_gated_method():
    learnt = result("ilora", config=of_gate("softmax"), created="2026-03-01T10:00:00+00:00")
    control = result("ilora", config=of_gate("dataset"), created="2026-03-02T10:00:00+00:00")
    table = group_tables([result("lora", config=of_gate("softmax")), learnt, control])[0]
    assert table.pair("ilora", "lora")[0].first is learnt


def of_gate(kind: str) -> dict[str, object]:
    """A made-up configuration with such a gate."""
    return {"preset": "quick", "gate": {"kind": kind}}


def test_the_gates_share_of_parameters_is_counted_against_the_lora_row():
    (table,) = group_tables(five_methods())
    shares = {row.method: table.extra_over_lora(row) for row in table.rows}
    assert shares["lora"] == 0
    assert shares["ilora"] == pytest.approx(100 * 256 / 2_442_240)
    assert shares["sasrec"] is shares["popularity"] is shares["zero-shot"] is None


def test_times_are_averaged_and_memory_is_the_peak():
    (table,) = group_tables(
        [
            result("lora", 0, timings={"train_seconds": 10.0}, peak_memory_bytes=5),
            result("lora", 1, timings={"train_seconds": 20.0}, peak_memory_bytes=7),
        ]
    )
    (row,) = table.rows
    assert (row.timing("train_seconds"), row.timing("ms_per_user"), row.peak_memory_bytes) == (15.0, None, 7)


def test_the_newest_table_comes_first():
    old = result("lora", samples_sha256="0", created="2025-01-01T00:00:00+00:00")
    tables = group_tables([old, result("lora")])
    assert [table.samples_sha256 for table in tables] == ["5a" * 32, "0"]


def test_measures_of_nothing_are_no_measures():
    assert measure([]) == {}


SMALL = result(cases=cases(0.4, users=3, positions=2))


def test_all_pairs_are_corrected_for_their_number_and_put_the_better_one_first():
    (table,) = group_tables(five_methods(seeds=2))
    pairs = table.pairs("spread")
    assert len(pairs) == 10
    for pair in pairs:
        assert pair.found.difference >= 0
        assert pair.found.p <= pair.p_holm <= min(1.0, 10 * pair.found.p)
        turned = pair.facing(pair.b)
        assert (turned.a, turned.b, turned.p_holm) == (pair.b, pair.a, pair.p_holm)
        assert turned.found.difference == -pair.found.difference
        assert turned.found.p == pair.found.p


def test_one_row_has_nobody_to_be_compared_with():
    (table,) = group_tables([result("lora")])
    assert table.pairs("spread") == []
