"""Items as tokens: a score is the next token's logit of one ordinary pass; all items of a history teach."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from core.errors import ModelError
from core.lm.decoder import decoder_view
from core.lm.loading import LanguageModel
from core.lm.token_prompt import TokenPrompt, token_name
from core.lm.token_ranker import LIKELIER, SOME, TokenRanker, check_tables, with_items
from tests import families, tiny

HISTORIES = [*tiny.histories(4), [7]]
CANDIDATES = tiny.candidates(5, size=6)
TARGETS = [3, 0, 5, 2, 1]


@pytest.fixture(scope="module")
def llm() -> LanguageModel:
    return tiny.language_model()


def ranker(llm: LanguageModel) -> TokenRanker:
    prompt = TokenPrompt(llm.tokenizer, tiny.TITLES, "Seen:")
    torch.manual_seed(2)
    view = decoder_view(llm.decoder, 0, llm.depth, norm=True)
    made = TokenRanker(llm, prompt, view, torch.randn(tiny.ITEMS, 16))
    tiny.randomize(made, std=0.5)
    return made


def by_hand(llm: LanguageModel, made: TokenRanker, history: list[int]) -> Tensor:
    """(tokens, vocabulary) logits of an ordinary forward pass over a prompt, the items' tokens included."""
    prompt, everything = made.prompt, torch.arange(tiny.ITEMS)
    ids = torch.tensor(prompt.tokens([history]))
    own = ids >= prompt.first
    hidden = llm.model.get_input_embeddings()(ids.masked_fill(own, 0))
    hidden[own] = made.items.read(ids[own] - prompt.first)
    states = llm.decoder(inputs_embeds=hidden).last_hidden_state[0]
    return with_items(llm.logits(states), states @ made.items.said(everything).T, prompt.first)


@torch.no_grad()
def test_a_score_is_the_next_tokens_logit_whoever_else_is_asked_about(llm: LanguageModel) -> None:
    made = ranker(llm)
    found = made(HISTORIES, CANDIDATES)
    for history, row, scores in zip(HISTORIES, CANDIDATES, found, strict=True):
        expected = by_hand(llm, made, history)[-1, [made.prompt.first + item for item in row]]
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    everything = made(HISTORIES, [list(range(tiny.ITEMS))] * len(HISTORIES))
    for row, scores, whole in zip(CANDIDATES, found, everything, strict=True):
        torch.testing.assert_close(scores, whole[row], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("listwise", [True, False])
@torch.no_grad()
def test_every_item_but_the_first_answers_what_stands_before_it(llm: LanguageModel, listwise: bool) -> None:
    made = ranker(llm)
    first, expected = made.prompt.first, 0.0
    for history, row, target in zip(HISTORIES, CANDIDATES, TARGETS, strict=True):
        answers = [*history[1:], row[target]]
        others = [item for item in row if item != row[target]]
        losses = []
        for place, answer in enumerate(answers, start=1):
            logits = by_hand(llm, made, history[:place])[-1]
            if listwise:
                logits = logits[[first + answer, *(first + item for item in others)]]
            losses.append(-logits.log_softmax(-1)[0 if listwise else first + answer])
        expected += float(torch.stack(losses).mean())
    found = made.loss(HISTORIES, CANDIDATES, TARGETS, listwise)
    assert float(found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("listwise", [True, False])
def test_what_rows_have_too_few_of_teaches_nothing(llm: LanguageModel, listwise: bool) -> None:
    """The gradient of a batch with rows of other lengths is the sum of each row's own."""
    made = ranker(llm)

    def gradient(rows: slice) -> dict[str, Tensor]:
        made.zero_grad()
        made.loss(HISTORIES[rows], CANDIDATES[rows], TARGETS[rows], listwise).backward()
        return {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}

    together = gradient(slice(None))
    alone = [gradient(slice(row, row + 1)) for row in range(len(HISTORIES))]
    assert together.keys() == dict(made.named_parameters()).keys()
    for name, found in together.items():
        torch.testing.assert_close(found, sum(row[name] for row in alone), rtol=1e-3, atol=1e-4)
        assert found.abs().max() > 0 or listwise, name


@torch.no_grad()
def test_training_starts_with_all_items_equal(llm: LanguageModel) -> None:
    prompt = TokenPrompt(llm.tokenizer, tiny.TITLES, "Seen:")
    view = decoder_view(llm.decoder, 0, llm.depth, norm=True)
    made = TokenRanker(llm, prompt, view, torch.randn(tiny.ITEMS, 16))
    found = made(HISTORIES, CANDIDATES)
    torch.testing.assert_close(found, found[:, :1].expand_as(found), rtol=1e-4, atol=1e-4)
    chances = by_hand(llm, made, list(range(SOME)))[-1].softmax(-1)
    share = float(chances[prompt.first :].sum())
    assert share == pytest.approx(LIKELIER / (LIKELIER + 1), abs=0.02)  # beside text, from the first step


def test_a_prompt_without_a_history_is_read(llm: LanguageModel) -> None:
    assert ranker(llm)([[]], [[1, 2]]).isfinite().all()


# --- prompts -----------------------------------------------------------------------------------------------


def test_a_prompt_is_text_that_the_tokenizer_reads_with_one_token_for_each_item() -> None:
    prompt = TokenPrompt(tiny.tokenizer(), tiny.TITLES, "Seen:")
    text = prompt.text([3, 12])
    assert text == f"<s>Seen:\n<item_3> {tiny.TITLES[3]}\n<item_12> {tiny.TITLES[12]}\n"
    (ids,) = prompt.tokens([[3, 12]])
    assert [token - prompt.first for token in ids if token >= prompt.first] == [3, 12]
    assert prompt.tokenizer.decode(ids) == text
    assert prompt.length([3, 12], ()) == len(ids)
    assert prompt.first == len(tiny.tokenizer())  # whose own vocabulary stays as it is


@pytest.mark.parametrize("spelled", ["</s>", token_name(1), "a\nb"])
def test_no_title_speaks_in_tokens_or_lines(spelled: str) -> None:
    titles = [f"One {spelled} more", *tiny.TITLES[1:]]
    prompt = TokenPrompt(tiny.tokenizer(), titles, "Seen:")
    (ids,) = prompt.tokens([[0]])
    assert [token for token in ids if token >= prompt.first] == [prompt.first]
    assert tiny.tokenizer().eos_token_id not in ids
    assert prompt.text([0]).count("\n") == 2


def test_an_over_long_title_is_cut() -> None:
    prompt = TokenPrompt(tiny.tokenizer(), ["Zq " * 200, *tiny.TITLES[1:]], "Seen:")
    assert prompt.length([0], ()) < 70


def test_a_model_that_has_such_tokens_already_is_refused() -> None:
    made = TokenPrompt(tiny.tokenizer(), tiny.TITLES, "Seen:")
    with pytest.raises(ModelError, match="<item_0> already"):
        TokenPrompt(made.tokenizer, tiny.TITLES, "Seen:")


# --- families ----------------------------------------------------------------------------------------------


def family(name: str) -> Any:
    return tiny.as_language_model(families.make(families.WORK[name]()))


@pytest.mark.parametrize("name", ["llama", "qwen2", "mistral"])
def test_plain_tables_can_be_added_to(name: str) -> None:
    check_tables(family(name))


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "granite"])
def test_a_model_that_scales_or_caps_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="does not read its tables as they stand"):
        check_tables(family(name))
