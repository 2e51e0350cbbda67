"""Writing the answer: greedy decoding of left-padded prompts with item slots, free or within the candidates.

transformers' own `generate` decodes, with its cache of keys and values. What is added here: the item vectors
enter where the adapted layers begin, while the prompt is read; and a trie of titles, where only those may be
written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from core.lm.loading import LanguageModel
from core.lm.prompts import MAX_TITLE_TOKENS, NO_ITEM, AnswerPrompt, Ints, TokenRun
from core.training import parallel

if TYPE_CHECKING:
    from core.lm.slots import ItemSlots

MAX_ANSWER_TOKENS = MAX_TITLE_TOKENS + 1
"""The longest title as a prompt shows it, and the end of its line."""


@dataclass(frozen=True)
class LeftPadded:
    """Prompts that all end in the last column, so that every answer starts right after its own prompt."""

    tokens: Ints
    """(batch, T)."""
    real: Ints
    """(batch, T) 1 for the prompt's tokens, 0 for padding."""
    slots: Ints
    """(batch, T) the item whose vector is added here, -1 elsewhere."""


def pad_left(rows: Sequence[Sequence[TokenRun]], fill: int) -> LeftPadded:
    """Lays prompts out; `fill` is the token that nobody reads."""
    tokens = [np.concatenate([piece.tokens for piece in row]) for row in rows]
    length = max(map(len, tokens))
    made = LeftPadded(
        tokens=np.full((len(rows), length), fill, dtype=np.int64),
        real=np.zeros((len(rows), length), dtype=np.int64),
        slots=np.full((len(rows), length), NO_ITEM, dtype=np.int64),
    )
    for number, (row, ids) in enumerate(zip(rows, tokens, strict=True)):
        made.tokens[number, length - len(ids) :] = ids
        made.real[number, length - len(ids) :] = 1
        ends = length - len(ids) + np.cumsum([len(piece.tokens) for piece in row]) - 1
        made.slots[number, ends] = [piece.item for piece in row]
    return made


class Trie:
    """Which tokens may follow, so that what is written is one of the sequences."""

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self.root: dict[int, Any] = {}
        for sequence in sequences:
            node = self.root
            for token in sequence:
                node = node.setdefault(token, {})

    def after(self, written: Sequence[int]) -> list[int]:
        """The tokens that may follow; none after a whole sequence, or after what begins no sequence."""
        node = self.root
        for token in written:
            if token not in node:
                return []
            node = node[token]
        return list(node)


@torch.no_grad()
def generate_answers(
    llm: LanguageModel,
    prompt: AnswerPrompt,
    slots: ItemSlots | None,
    entry: nn.Module | None,
    histories: Sequence[Sequence[int]],
    candidates: Sequence[Sequence[int]],
    constrained: bool,
) -> list[str]:
    """The text that the model writes after each prompt, greedily, up to the end of its line.

    An answer has at least one token, as in the official code, and at most as many as the longest title.
    Padding is on the left and masked, so that a row's answer does not depend on the rows beside it.

    Args:
        llm: the language model; a gate must be set for rows in this order.
        prompt: the template with the catalogue's titles; the first template asks.
        slots: adds the item vectors; None for a prompt of text alone.
        entry: the decoder layer before which they are added; None: to the tokens' embeddings.
        histories: item sequences, oldest first.
        candidates: C items each.
        constrained: whether only the row's candidates' titles can be written.
    """
    rows = [prompt.prefix(history, row) for history, row in zip(histories, candidates, strict=True)]
    batch = pad_left(rows, prompt.end)
    length = batch.tokens.shape[1]
    with (
        _adding(slots, entry or llm.model.get_input_embeddings(), entry is None, batch.slots),
        _own_settings_aside(llm.model),
    ):
        output: Tensor = llm.model.generate(  # type: ignore[operator]
            input_ids=torch.from_numpy(batch.tokens).to(llm.device),
            attention_mask=torch.from_numpy(batch.real).to(llm.device),
            generation_config=_greedy(prompt),
            prefix_allowed_tokens_fn=_within(prompt, candidates, length) if constrained else None,
            synced_gpus=parallel.is_sharded(),  # whoever has written all goes on until everyone has
        )
    return [prompt.read(row) for row in output[:, length:].tolist()]


def _greedy(prompt: AnswerPrompt) -> GenerationConfig:
    """Greedy decoding of one line."""
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=MAX_ANSWER_TOKENS,
        min_new_tokens=1,
        do_sample=False,
        eos_token_id=prompt.line_ends,
        pad_token_id=prompt.end,
        use_cache=True,
    )


@contextmanager
def _own_settings_aside(model: Any) -> Iterator[None]:
    """Keeps what a model's own file says of sampling, penalties or forbidden words out of the answers."""
    own = model.generation_config
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        model.generation_config = own


def _within(
    prompt: AnswerPrompt, candidates: Sequence[Sequence[int]], length: int
) -> Callable[[int, Tensor], list[int]]:
    """What each row may write next: a token on the way to one of its candidates' titles."""
    tries = [Trie([prompt.answer(item).tokens.tolist() for item in row]) for row in candidates]

    def allowed(row: int, tokens: Tensor) -> list[int]:
        return tries[row].after(tokens[length:].tolist()) or [prompt.end]  # a whole answer waits for the rest

    return allowed


@contextmanager
def _adding(slots: ItemSlots | None, entry: nn.Module, after: bool, items: Ints) -> Iterator[None]:
    """Adds the item vectors before or after a layer when the prompt is read; an answer's tokens have none."""
    if slots is None:
        yield
        return
    reads = 0

    def add(states: Tensor) -> Tensor | None:
        nonlocal reads
        reads += 1
        if reads > 1:
            return None
        if states.shape[:2] != items.shape:
            raise RuntimeError(f"a prompt of {items.shape} was read as {tuple(states.shape[:2])}")
        added: Tensor = slots(states, items)
        return added

    def before(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        added = add(given[0])
        return None if added is None else (added, *given[1:])

    hook = (
        entry.register_forward_hook(lambda *given: add(given[2]))
        if after
        else entry.register_forward_pre_hook(before)
    )
    try:
        yield
    finally:
        hook.remove()
    if not reads:
        raise RuntimeError("the prompt was never read where its item vectors belong")
