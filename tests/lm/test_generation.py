"""Written answers: what the model would write, alone or in a batch, freely or within the candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from core.data.card_files import load_card
from core.evaluation.answer_matching import read_answer
from core.ilora.model import AdaptedModel
from core.lm.decoder import decoder_view
from core.lm.generation import MAX_ANSWER_TOKENS, Trie, pad_left
from core.lm.likelihood import AnswerRanker
from core.lm.loading import LanguageModel
from core.lm.prompts import MAX_TITLE_TOKENS, NO_ITEM, AnswerPrompt, TokenRun, pack
from tests import tiny

TEMPLATE = "Seen {history}. Of {candidates} ({count}) the next is:"
HISTORIES = tiny.histories(6)  # of 2 to 6 items
CANDIDATES = tiny.candidates(6, size=6)


@pytest.fixture(scope="module")
def llm() -> LanguageModel:
    return tiny.language_model()


def ranker(
    llm: LanguageModel, lower: int = 2, hybrid: bool = True, titles: Sequence[str] = tiny.TITLES
) -> AnswerRanker:
    prompt = AnswerPrompt(llm.tokenizer, titles, TEMPLATE)
    below = decoder_view(llm.decoder, 0, lower, norm=False) if lower else None
    torch.manual_seed(2)
    vectors = tiny.encoder(items=len(titles)).item_vectors() if hybrid else None
    return AnswerRanker(llm, prompt, below, decoder_view(llm.decoder, lower, llm.depth, norm=True), vectors)


# --- what is written ---------------------------------------------------------------------------------------


@torch.no_grad()
def by_hand(made: AnswerRanker, llm: LanguageModel, history: list[int], row: list[int]) -> str:
    """Greedy decoding without a cache, a batch or `generate`: every token from a whole new forward pass."""
    prompt, written = made.prompt, list[int]()
    prefix = prompt.prefix(history, row)
    while len(written) < MAX_ANSWER_TOKENS:
        pieces = [*prefix, *([TokenRun(np.array(written))] if written else [])]
        length = sum(len(piece.tokens) for piece in pieces)
        packed = pack([pieces], [[TokenRun(np.array([0]))]])  # a branch is needed, and seen by nobody
        logits: Tensor = llm.logits(made._read(packed, hybrid=True)[0, length - 1][None])[0].float()
        if not written:
            logits[prompt.line_ends] = -torch.inf
        written.append(int(logits.argmax()))
        if written[-1] in prompt.line_ends:
            break
    return prompt.read(written)


@pytest.mark.parametrize("lower", [0, 2])
@pytest.mark.parametrize("hybrid", [True, False])
def test_the_answer_is_that_of_greedy_decoding_by_hand(llm: LanguageModel, lower: int, hybrid: bool) -> None:
    made = ranker(llm, lower, hybrid)
    expected = [by_hand(made, llm, HISTORIES[row], CANDIDATES[row]) for row in (0, 4)]
    assert made.answer(HISTORIES, CANDIDATES, constrained=False)[0::4] == expected


def test_item_vectors_are_read(llm: LanguageModel) -> None:
    with_vectors = ranker(llm).answer(HISTORIES, CANDIDATES, constrained=False)
    assert with_vectors != ranker(llm, hybrid=False).answer(HISTORIES, CANDIDATES, constrained=False)


@pytest.mark.parametrize("constrained", [False, True])
def test_an_answer_is_the_same_alone_and_in_any_batch(llm: LanguageModel, constrained: bool) -> None:
    """Padding on the right would make shorter prompts go on from a padding token."""
    made = ranker(llm)
    together = made.answer(HISTORIES, CANDIDATES, constrained)
    assert len({len(history) for history in HISTORIES}) > 3
    for size in (1, 4):
        parts = [
            made.answer(HISTORIES[start : start + size], CANDIDATES[start : start + size], constrained)
            for start in range(0, len(HISTORIES), size)
        ]
        assert [text for part in parts for text in part] == together


def test_a_models_own_decoding_settings_are_left_aside_and_left_alone(llm: LanguageModel) -> None:
    made = ranker(llm)
    expected = made.answer(HISTORIES, CANDIDATES, constrained=False)
    own = llm.model.generation_config
    assert own is not None
    own.repetition_penalty, own.suppress_tokens, own.forced_eos_token_id = 50.0, list(range(40, 90)), 7
    try:
        assert made.answer(HISTORIES, CANDIDATES, constrained=False) == expected
        assert llm.model.generation_config is own
    finally:
        own.repetition_penalty, own.suppress_tokens, own.forced_eos_token_id = None, None, None


def test_nothing_stays_behind_in_the_model(llm: LanguageModel) -> None:
    made = ranker(llm)
    before = made(HISTORIES, CANDIDATES)
    made.answer(HISTORIES, CANDIDATES, constrained=False)
    assert torch.equal(made(HISTORIES, CANDIDATES), before)
    assert not any(layer._forward_pre_hooks for layer in llm.decoder.layers)  # type: ignore[union-attr]


# --- the gate ----------------------------------------------------------------------------------------------


@pytest.fixture
def gated(tiny_home: None) -> AdaptedModel:
    """An iLoRA whose experts and gate are far from uniform."""
    settings = tiny.config(objective="language-model")
    prompts = load_card("tiny").prompts
    model = AdaptedModel(tiny.language_model(), tiny.encoder(), tiny.TITLES, prompts, settings, True, 0)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, parameter in sorted(model.parameters().items()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
        assert model.gate is not None
        for parameter in model.gate.parameters():
            parameter.mul_(20)
    model.train(False)
    return model


def test_every_row_is_answered_through_its_own_gate(gated: AdaptedModel) -> None:
    together = gated.answers(HISTORIES, CANDIDATES, constrained=False)
    alone = [
        gated.answers([history], [row], constrained=False)[0]
        for history, row in zip(HISTORIES, CANDIDATES, strict=True)
    ]
    assert together == alone
    assert gated.gate is not None
    with torch.no_grad():
        for parameter in gated.gate.parameters():
            parameter.zero_()
    assert gated.answers(HISTORIES, CANDIDATES, constrained=False) != together


def test_without_a_gate_nothing_is_answered(gated: AdaptedModel) -> None:
    assert isinstance(gated.ranker, AnswerRanker)
    with pytest.raises(RuntimeError, match="without expert weights"):
        gated.ranker.answer(HISTORIES, CANDIDATES, constrained=False)


def test_a_listwise_model_writes_no_answers(tiny_home: None) -> None:
    prompts = load_card("tiny").prompts
    model = AdaptedModel(tiny.language_model(), tiny.encoder(), tiny.TITLES, prompts, tiny.config(), False, 0)
    with pytest.raises(TypeError, match="listwise"):
        model.answers(HISTORIES, CANDIDATES, constrained=False)


# --- within the candidates ---------------------------------------------------------------------------------

AWKWARD = (
    "Amber", "Amber Fox", "Amber Fox II", "amber", "Fox", "F", "A\nB", "(500) Days", "Fox " * 60,
    "Fox " * 60 + "again", "Amélie", "東京物語", "שלום", "🎬", "</s>", "...",
)  # fmt: skip


def test_a_constrained_answer_is_always_a_candidate(llm: LanguageModel) -> None:
    """Titles that begin others, that look like the end of text, that are cut, in other scripts."""
    made = ranker(llm, titles=AWKWARD)
    rows = [[(first + place) % len(AWKWARD) for place in range(5)] for first in range(len(AWKWARD))]
    histories = [[row[0], row[3]] for row in rows]
    texts = made.answer(histories, rows, constrained=True)
    for text, row in zip(texts, rows, strict=True):
        assert read_answer(text, [made.prompt.title(item) for item in row]).valid, (text, row)
    assert len(set(texts)) > 4
    free = made.answer(histories, rows, constrained=False)
    assert not all(
        read_answer(text, [made.prompt.title(item) for item in row]).valid
        for text, row in zip(free, rows, strict=True)
    )


def test_a_title_that_begins_another_can_be_left_or_gone_on_with() -> None:
    end = 9
    trie = Trie([[1, 2, end], [1, 2, 3, end], [4, end]])
    assert sorted(trie.after([])) == [1, 4]
    assert sorted(trie.after([1, 2])) == [3, end]
    assert trie.after([1, 2, 3]) == [end]
    assert trie.after([1, 2, end]) == []
    assert trie.after([5]) == []


# --- the prompt's side -------------------------------------------------------------------------------------


def test_prompts_end_in_the_last_column_and_slots_move_with_them() -> None:
    short, long = (
        [TokenRun(np.array([5, 6]), 3)],
        [TokenRun(np.array([7])), TokenRun(np.array([8, 9, 10]), 4)],
    )
    batch = pad_left([short, long], fill=0)
    assert batch.tokens.tolist() == [[0, 0, 5, 6], [7, 8, 9, 10]]
    assert batch.real.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert batch.slots.tolist() == [[NO_ITEM] * 3 + [3], [NO_ITEM] * 3 + [4]]


def test_an_answer_is_read_up_to_the_end_of_its_line(llm: LanguageModel) -> None:
    prompt = AnswerPrompt(llm.tokenizer, tiny.TITLES, TEMPLATE)
    tokens = prompt.answer(4).tokens.tolist()
    assert prompt.read(tokens) == prompt.read([*tokens, *tokens]) == tiny.TITLES[4]
    assert prompt.read([prompt.end]) == ""
    assert {prompt.end, llm.tokenizer.eos_token_id} <= set(prompt.line_ends)


def test_a_title_is_shown_on_one_line_and_cut_where_it_is_too_long(llm: LanguageModel) -> None:
    prompt = AnswerPrompt(llm.tokenizer, ("A\nB", "Fox " * 60), TEMPLATE)
    assert prompt.title(0) == "A B"
    assert len(prompt.answer(1).tokens) == MAX_TITLE_TOKENS + 1 == MAX_ANSWER_TOKENS
    assert ("Fox " * 60).startswith(prompt.title(1))


def test_templates_say_the_same_in_other_words(llm: LanguageModel) -> None:
    prompt = AnswerPrompt(llm.tokenizer, tiny.TITLES, (TEMPLATE, "Of {candidates} after {history}?"))
    first, second = (prompt.prefix([1, 2], [3, 4], template) for template in (0, 1))
    assert [piece.item for piece in first if piece.item != NO_ITEM] == [1, 2, 3, 4]
    assert [piece.item for piece in second if piece.item != NO_ITEM] == [3, 4, 1, 2]
    packed = prompt.pack([[1, 2]] * 2, [[3, 4]] * 2, [[3]] * 2, [0, 1])
    assert packed.slots[0][packed.slots[0] >= 0].tolist() == [1, 2, 3, 4]
    assert packed.slots[1][packed.slots[1] >= 0].tolist() == [3, 4, 1, 2]
