"""Every method keeps the interface's promises; the registry knows them all and imports none."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from core.config.settings import RunConfig
from core.errors import InputError
from core.methods import METHODS, check_method, control_methods, local_methods
from core.recommenders.registry import method_class
from tests import tiny


@pytest.mark.parametrize("method", local_methods())
def test_scores_are_finite_one_per_candidate_and_follow_their_order(
    method: str, tiny_home: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    load = AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(
        AutoModelForCausalLM, "from_pretrained", lambda *of, **how: loaded.append(of) or load(*of, **how)
    )
    task = tiny.task(tiny.config(tiny_model, samples=4), tmp_path)
    recommender = method_class(method)()
    recommender.fit(task)
    assert recommender.name == method
    assert bool(loaded) == METHODS[method].needs_llm
    histories, candidates = tiny.histories(3, longest=10), tiny.candidates(3)
    scores = recommender.score(histories, candidates)
    assert scores.shape == (3, 20)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    if method not in ("zero-shot", "tallrec", "llara"):  # prompts that list the candidates in their order
        reversed_scores = recommender.score(histories, tiny.rows(candidates, range(19, -1, -1)))
        tolerance = 0.05 if METHODS[method].has_adapter else 1e-5  # 16-bit sums in another order
        np.testing.assert_allclose(reversed_scores[:, ::-1], scores, atol=tolerance)
    omega = recommender.expert_weights(histories)
    assert (omega is not None) == METHODS[method].has_gate == (method == "ilora")


def test_every_method_names_the_settings_that_decide_its_result() -> None:
    parts = {field.name for field in dataclasses.fields(RunConfig)}
    assert all("data" in method.reads for method in METHODS.values())
    assert all(parts.issuperset(method.reads) for method in METHODS.values())
    assert {name for name, method in METHODS.items() if method.needs_llm} == {
        "morec", "zero-shot", "tallrec", "llara", "lora", "lora-z", "ilora", *control_methods(),
    }  # fmt: skip


def test_an_unknown_method_is_named_with_the_choices() -> None:
    with pytest.raises(InputError, match="unknown method: llama") as caught:
        check_method("llama")
    assert all(method in caught.value.hint for method in METHODS)


def test_listing_the_methods_imports_none_of_them() -> None:
    code = (
        "import sys; from core.methods import METHODS; "
        "assert 'torch' not in sys.modules and 'core.recommenders.adapter' not in sys.modules"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_popularity_counts_training_interactions_whatever_the_history(
    tiny_home: Path, tmp_path: Path
) -> None:
    task = tiny.task(tiny.config(), tmp_path)
    popularity = method_class("popularity")()
    popularity.fit(task)
    held_out = {"3", "9", "15", "21", "4", "10", "16"}
    kept = [s.items.tolist() for user, s in task.dataset.sequences.items() if user not in held_out]
    expected = [sum(row.count(item) for row in kept) for item in range(tiny.ITEMS)]
    found = popularity.score([[1], [2, 3]], [list(range(tiny.ITEMS))] * 2)
    assert found.tolist() == [expected, expected]
