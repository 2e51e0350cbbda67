"""Rows, branches and slots: what a prompt shows, and to whom."""

from __future__ import annotations

import numpy as np
import pytest

from core.lm.prompts import (
    MAX_TITLE_TOKENS,
    NO_ITEM,
    PADDING,
    AnswerPrompt,
    ListwisePrompt,
    Packed,
    TokenRun,
    pack,
    slot_token,
    visible,
)
from tests import tiny


def piece(length: int, item: int = NO_ITEM) -> TokenRun:
    return TokenRun(np.arange(1, length + 1), item)


def two_rows() -> Packed:
    return pack(
        [[piece(3, 7)], [piece(2), piece(4, 8)]],
        [[piece(2, 1), piece(3, 2)], [piece(2, 3), piece(1, 4)]],
    )


def test_branches_restart_their_positions_after_the_prefix() -> None:
    packed = two_rows()
    real = packed.branch >= 0
    assert packed.branch[0][real[0]].tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert packed.positions[0][real[0]].tolist() == [0, 1, 2, 3, 4, 3, 4, 5]
    assert packed.positions[1][real[1]].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 6]
    assert packed.ends.tolist() == [[4, 7], [7, 8]]


def test_slots_are_at_the_last_token_of_an_item() -> None:
    slots = two_rows().slots
    assert [(place, int(slots[0, place])) for place in np.flatnonzero(slots[0] >= 0)] == [
        (2, 7),
        (4, 1),
        (7, 2),
    ]
    assert [(place, int(slots[1, place])) for place in np.flatnonzero(slots[1] >= 0)] == [
        (5, 8),
        (7, 3),
        (8, 4),
    ]


def test_padding_is_on_the_right_and_marked() -> None:
    packed = two_rows()
    assert (packed.branch[0, 8:] == PADDING).all()
    assert (packed.slots[0, 8:] == NO_ITEM).all()
    assert packed.tokens.shape == packed.positions.shape == packed.branch.shape == packed.slots.shape


def test_a_token_sees_the_prefix_and_its_own_branch_so_far_and_nothing_else() -> None:
    packed = two_rows()
    seen = visible(packed.branch)
    assert seen.shape == (2, 1, *packed.branch.shape[1:], packed.branch.shape[1])
    for row, branch in enumerate(packed.branch):
        for query, own in enumerate(branch):
            if own == PADDING:
                assert seen[row, 0, query].any()  # or its attention is not a number
                continue
            expected = [key <= query and other in (0, own) for key, other in enumerate(branch)]
            assert seen[row, 0, query].tolist() == expected


def listwise(titles: tuple[str, ...] = tiny.TITLES) -> ListwisePrompt:
    return ListwisePrompt(tiny.tokenizer(), titles, "Seen:", "Next:")


def text(prompt: ListwisePrompt, packed: Packed, branch: int) -> str:
    places = packed.tokens[0][packed.branch[0] == branch]
    found: str = tiny.tokenizer().decode(prompt.ids[places])
    return found


def test_the_listwise_prompt_reads_as_the_card_says() -> None:
    prompt = listwise()
    packed = prompt.pack([[0, 6]], [[2, 5, 9]])
    assert text(prompt, packed, 0) == f"<s>Seen:\n{tiny.TITLES[0]}\n{tiny.TITLES[6]}\nNext:\n"
    assert [text(prompt, packed, k) for k in (1, 2, 3)] == [f"{tiny.TITLES[item]}\n" for item in (2, 5, 9)]
    assert packed.slots[packed.slots >= 0].tolist() == [0, 6, 2, 5, 9]
    assert prompt.length([0, 6], [2, 5, 9]) == int((packed.branch[0] >= 0).sum())


def test_an_item_is_the_same_in_the_history_and_among_the_candidates() -> None:
    prompt = listwise()
    packed = prompt.pack([[4]], [[4]])
    first, last = (np.flatnonzero(packed.slots[0] == 4)).tolist()
    width = len(prompt.item(4).tokens)
    assert (
        packed.tokens[0, first - width + 1 : first + 1].tolist()
        == packed.tokens[0, last - width + 1 : last + 1].tolist()
    )


@pytest.mark.parametrize("title", ["x" * 5000, "", "a\nb", "<s></s>", "Amélie 東京 🎬"])
def test_any_title_becomes_a_segment_that_ends_in_its_slot(title: str) -> None:
    prompt = listwise((*tiny.TITLES, title))
    tokens = prompt.ids[prompt.item(tiny.ITEMS).tokens]
    assert 1 <= len(tokens) <= MAX_TITLE_TOKENS + 1
    assert tokens[-1] == slot_token(tiny.tokenizer())
    assert tiny.tokenizer().eos_token_id not in tokens  # no title says that the text ends


def test_the_answer_prompt_lists_history_and_candidates_and_counts_them() -> None:
    prompt = AnswerPrompt(tiny.tokenizer(), tiny.TITLES, "Seen {history}. Of {count}: {candidates} next:")
    pieces = prompt.prefix([0, 6], [2, 5, 9])
    said = tiny.tokenizer().decode(np.concatenate([piece.tokens for piece in pieces]))
    assert said.startswith("<s>Seen")
    for part in (tiny.TITLES[0], tiny.TITLES[6], "Of 3:", tiny.TITLES[2], tiny.TITLES[5], tiny.TITLES[9]):
        assert part in said
    assert [piece.item for piece in pieces if piece.item != NO_ITEM] == [0, 6, 2, 5, 9]
    assert said.endswith("next:")


def test_an_answer_is_the_title_and_the_end_of_the_line_with_no_vector_to_give_it_away() -> None:
    prompt = AnswerPrompt(tiny.tokenizer(), tiny.TITLES, "{history} {candidates}")
    answer = prompt.answer(3)
    assert tiny.tokenizer().decode(answer.tokens) == f" {tiny.TITLES[3]}\n"
    assert answer.item == NO_ITEM
