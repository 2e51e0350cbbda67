"""Every method keeps the interface's promises; the registry knows them all and imports none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError
from core.methods import CONFIG_PARTS, LLM_METHODS, LOCAL_METHODS, METHODS, check_method
from core.recommenders.registry import method_class
from tests import tiny


@pytest.mark.parametrize("method", LOCAL_METHODS)
def test_scores_are_finite_one_per_candidate_and_follow_their_order(
    method: str, tiny_home: Path, tmp_path: Path, tiny_model: Path
) -> None:
    task = tiny.task(tiny.config(tiny_model, samples=4), tmp_path)
    recommender = method_class(method)()
    recommender.fit(task)
    assert recommender.name == method
    assert recommender.uses_llm == (method in LLM_METHODS)
    histories, candidates = tiny.histories(3, longest=10), tiny.candidates(3)
    scores = recommender.score(histories, candidates)
    assert scores.shape == (3, 20)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    if method not in ("zero-shot", "tallrec", "llara"):  # prompts that list the candidates in their order
        reversed_scores = recommender.score(histories, tiny.rows(candidates, range(19, -1, -1)))
        tolerance = 0.05 if "adapter" in CONFIG_PARTS[method] else 1e-5  # 16-bit sums in another order
        np.testing.assert_allclose(reversed_scores[:, ::-1], scores, atol=tolerance)
    omega = recommender.expert_weights(histories)
    assert (omega is not None) == (method == "ilora")


def test_every_method_names_the_settings_that_decide_its_result() -> None:
    assert set(CONFIG_PARTS) == set(METHODS)
    assert all("data" in parts for parts in CONFIG_PARTS.values())
    assert all("model" in CONFIG_PARTS[method] for method in LLM_METHODS)


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
