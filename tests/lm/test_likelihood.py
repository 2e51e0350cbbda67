"""A candidate's score by likelihood is what the language model itself says about its title."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.lm import likelihood as likelihood_module
from core.lm.decoder import decoder_view
from core.lm.likelihood import AnswerRanker
from core.lm.loading import LanguageModel
from core.lm.prompts import AnswerPrompt
from tests import tiny

TEMPLATE = "Seen {history}. Of {candidates} ({count}) the next is:"
HISTORIES = tiny.histories(3)
CANDIDATES = tiny.candidates(3, size=6)


@pytest.fixture(scope="module")
def llm() -> LanguageModel:
    return tiny.language_model()


def ranker(llm: LanguageModel, lower: int = 0, vectors: Tensor | None = None) -> AnswerRanker:
    prompt = AnswerPrompt(llm.tokenizer, tiny.TITLES, TEMPLATE)
    below = decoder_view(llm.decoder, 0, lower, norm=False) if lower else None
    torch.manual_seed(2)
    return AnswerRanker(llm, prompt, below, decoder_view(llm.decoder, lower, llm.depth, norm=True), vectors)


def by_hand(
    llm: LanguageModel, prompt: AnswerPrompt, history: list[int], row: list[int], item: int
) -> Tensor:
    """The sum of log-softmax over the answer's tokens in one ordinary forward pass, without packing."""
    before = [int(token) for piece in prompt.prefix(history, row) for token in piece.tokens]
    answer = prompt.answer(item).tokens.tolist()
    logits = llm.model(input_ids=torch.tensor([before + answer])).logits[0].float()
    likelihood = torch.log_softmax(logits, -1)
    at = torch.arange(len(answer)) + len(before) - 1
    return likelihood[at, answer].sum()


@pytest.mark.parametrize("lower", [0, 2])
@torch.no_grad()
def test_the_score_is_the_log_likelihood_of_an_ordinary_forward_pass(llm: LanguageModel, lower: int) -> None:
    made = ranker(llm, lower)
    prompt = AnswerPrompt(llm.tokenizer, tiny.TITLES, TEMPLATE)
    expected = torch.stack(
        [
            torch.stack([by_hand(llm, prompt, history, row, item) for item in row])
            for history, row in zip(HISTORIES, CANDIDATES, strict=True)
        ]
    )
    torch.testing.assert_close(made(HISTORIES, CANDIDATES), expected, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_an_answers_likelihood_does_not_depend_on_the_other_answers_or_rows(llm: LanguageModel) -> None:
    made = ranker(llm, 2, torch.randn(tiny.ITEMS, 16))
    together, lengths = made.token_likelihoods(HISTORIES, CANDIDATES, CANDIDATES)
    for row in range(3):
        for place, item in enumerate(CANDIDATES[row]):
            alone, length = made.token_likelihoods([HISTORIES[row]], [CANDIDATES[row]], [[item]])
            torch.testing.assert_close(together[row, place], alone[0, 0], rtol=1e-4, atol=1e-3)
            assert lengths[row, place] == length[0, 0] == len(made._parts[1].answer(item).tokens)


@torch.no_grad()
def test_item_vectors_change_the_likelihood(llm: LanguageModel) -> None:
    plain = ranker(llm)(HISTORIES, CANDIDATES)
    hybrid = ranker(llm, vectors=torch.randn(tiny.ITEMS, 16))(HISTORIES, CANDIDATES)
    assert (plain - hybrid).abs().max() > 0.1


@torch.no_grad()
def test_the_loss_is_the_mean_over_the_answers_tokens_summed_over_the_batch(llm: LanguageModel) -> None:
    made = ranker(llm)
    answers = [row[2] for row in CANDIDATES]
    total, lengths = made.token_likelihoods(HISTORIES, CANDIDATES, [[item] for item in answers])
    expected = -(total / lengths).sum()
    torch.testing.assert_close(made.loss(HISTORIES, CANDIDATES, answers), expected)
    assert expected > 0


@torch.no_grad()
def test_vocabulary_pieces_do_not_change_the_likelihood(
    llm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ranker(llm)(HISTORIES, CANDIDATES)
    monkeypatch.setattr(likelihood_module, "POSITIONS_PER_PASS", 7)
    torch.testing.assert_close(ranker(llm)(HISTORIES, CANDIDATES), whole)
