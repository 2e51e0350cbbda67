"""The model of costs agrees with recorded runs, and asks the model in hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.benchmark.costs import Measured, cost, plan_stages, seconds, total
from core.benchmark.estimates import measured
from core.config.presets import preset_config, with_overrides
from core.data.types import Sample, Samples
from core.methods import method_names
from tests import tiny

RECORDED = json.loads((Path(__file__).parent / "recorded_costs.json").read_text(encoding="utf-8"))
FACTOR = 1.5
SHORT = 2.0
"""Seconds below which nobody minds a wrong estimate."""


def samples_of(counts: dict[str, int]) -> Samples:
    """As many cases as were recorded."""

    def asked(users: int) -> tuple[Sample, ...]:
        return tuple(Sample(str(user), 3, (1, 2, 3), 4) for user in range(users))

    train = (Sample("all", 10 * (counts["pieces"] - 1), tuple(range(10)), 4),)
    test = {"spread": asked(counts["test"])}
    return Samples("made-up", "paper", 0, train, asked(counts["validation"]), test, "0" * 64)


@pytest.mark.parametrize("record", RECORDED, ids=lambda record: record["processor"])
def test_recorded_timings_tell_the_times_of_the_recorded_runs(record: dict[str, Any]) -> None:
    if record["measured"] is None:
        pytest.skip("the runs were recorded before the timings could be")
    found, samples = Measured(**record["measured"]), samples_of(record["cases"])
    config = preset_config(record["preset"])
    off = {}
    for method, run in record["runs"].items():
        stages = cost(found, config, method, samples)
        taken_by = {
            "train": run.get("train_seconds", 0.0),
            "test": record["cases"]["test"] * run.get("ms_per_user", 0.0) / 1000,
        }
        for stage, taken in taken_by.items():
            thought = sum(s.seconds for s in stages if s.name == stage and s.method == method)
            if taken >= SHORT and not 1 / FACTOR <= thought / taken <= FACTOR:
                off[method, stage] = f"{thought:.1f} s for {taken:.1f} s"
    assert not off


def test_every_record_names_its_processor_and_every_default_method() -> None:
    for record in RECORDED:
        assert record["processor"]
        assert {"sasrec", "zero-shot", "lora", "ilora"} <= set(record["runs"])


@pytest.mark.usefixtures("tiny_home")
@pytest.mark.parametrize("method", sorted(method_names(lambda method: method.needs_llm)))
def test_a_bigger_model_is_told_more_time(method: str, tmp_path: Path) -> None:
    def thought(width: int, layers: int) -> float:
        folder = tmp_path / f"{width}x{layers}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(shape(width, layers)))
        # all layers adapted, or the depth of a listwise method would show in nothing but reading titles
        config = with_overrides(tiny.config(folder), adapter={"layers": 0})
        data, samples = tiny.load(config)
        return seconds(measured(config, [method], data, samples), config, method, samples)

    small, wide = thought(64, 4), thought(1024, 4)
    if method == "morec":  # reads no more than titles, of which there are hardly any
        assert wide > small
    else:
        assert wide > 1.3 * small
        assert thought(1024, 16) > thought(1024, 5)


def shape(width: int, layers: int) -> dict[str, Any]:
    """The config.json of a Llama without weights."""
    return {
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 4096,
    }


def test_reading_a_history_again_for_each_row_is_counted_and_no_more() -> None:
    """On one core 20, 100, 500 and 1,682 candidates took 76, 219, 1,021 and 3,221 ms of its time."""
    found = Measured(
        1682, 1, 1, 1, *[{"listwise": 1.0, "zero-shot": 1.0, "language-model": 1.0}] * 3, {"sasrec": 1.0}
    )
    samples = samples_of({"pieces": 2, "test": 1, "validation": 1})
    times = []
    for passed in (20, 100, 500, 0):
        config = with_overrides(preset_config("quick"), data={"candidates": "catalogue", "retrieve": passed})
        times.append(cost(found, config, "lora", samples)[-1].seconds)
    assert times[0] == pytest.approx(1.0)
    for told, took in zip(times[1:], (2.9, 13.4, 42), strict=True):
        assert took < told < FACTOR * took


def test_what_one_method_makes_for_all_counts_once() -> None:
    found = Measured(
        items=100, load=1, title=0.1, train={"listwise": 1.0}, rank={"listwise": 0.1}, step={"sasrec": 1.0}
    )
    config, samples = preset_config("quick"), samples_of({"test": 5, "validation": 5, "pieces": 100})
    runs = [("sasrec", 0), ("lora", 0), ("ilora", 0)]
    first, lora, ilora = plan_stages(found, config, runs, samples)
    assert [(stage.name, stage.method) for stage in first] == [("train", "sasrec")]
    assert [stage.name for stage in lora] == ["load", "read", "train", "validate", "test"]
    assert [stage.name for stage in ilora] == ["load", "train", "validate", "test"]
    other = plan_stages(found, config, [*runs, ("lora", 1)], samples)[-1]
    assert [(stage.name, stage.method) for stage in other[:2]] == [("train", "sasrec"), ("load", "lora")]
    assert total([first, lora, ilora]) < sum(seconds(found, config, method, samples) for method, _ in runs)


def test_with_item_tokens_the_whole_catalogue_takes_no_longer_to_rank() -> None:
    found = Measured(items=500, train={"item-tokens": 1.0}, rank={"item-tokens": 0.1}, step={"sasrec": 1.0})
    samples = samples_of({"test": 5, "validation": 5, "pieces": 100})
    few = with_overrides(preset_config("quick"), training={"item_tokens": True})
    whole = with_overrides(few, data={"candidates": "catalogue"})
    assert cost(found, few, "lora", samples) == cost(found, whole, "lora", samples)


@pytest.mark.usefixtures("tiny_home")
def test_a_prompt_with_item_tokens_is_timed(tiny_model: Path) -> None:
    config = tiny.config(tiny_model, item_tokens=True, encoder_prior=False)
    found = measured(config, ["lora", "ilora"], *tiny.load(config))
    assert found.train["item-tokens"] > 0 and found.rank["item-tokens"] > 0
    assert seconds(found, config, "ilora", tiny.load(config)[1]) > 0


def test_an_encoder_is_thought_to_stop_where_validation_does_unless_the_longest_is_asked_for() -> None:
    found = Measured(step={"sasrec": 1.0})
    config, samples = preset_config("standard"), samples_of({"test": 5, "validation": 5, "pieces": 1280})
    likely = seconds(found, config, "sasrec", samples)
    longest = seconds(found, config, "sasrec", samples, longest=True)
    assert likely < longest == 10 * 200
    few = with_overrides(config, encoder={"epochs": 3})
    assert seconds(found, few, "sasrec", samples) == 30
