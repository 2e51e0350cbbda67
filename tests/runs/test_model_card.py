"""A model card says what its figures are of: twenty candidates, the whole catalogue, or answers in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.config.settings import RunConfig
from core.data.card_files import load_card
from core.runs.model_card import run_card
from tests.made_up import answered, result


def card(**pool: Any) -> str:
    made = result("ilora")
    made = replace(made, config={**made.config, "pool": pool}) if pool else made
    return run_card(made, RunConfig(), load_card("movielens"))


def test_a_card_names_the_candidates_that_the_target_was_ranked_among() -> None:
    assert "chose next among 20 candidates;" in card()
    whole = card(candidates="catalogue", retrieve=100)
    assert "20 candidates" not in whole
    assert "among all items that are new to the user, of which the encoder's best 100 are reranked;" in whole
    assert "among all items that are new to the user;" in card(candidates="catalogue", retrieve=0)
    assert "Answers in words" in run_card(answered("ilora"), RunConfig(), load_card("movielens"))


def test_a_cards_metrics_stand_in_the_order_of_every_table() -> None:
    made = result("sasrec")
    turned = {name: dict(reversed(values.items())) for name, values in made.metrics.items()}
    text = run_card(replace(made, metrics=turned), RunConfig(), load_card("movielens"))
    assert "| HR@1 | HR@5 | NDCG@10 | MRR |" in text
