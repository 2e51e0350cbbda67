"""Prompts in which every item is a token of its own, added to the language model's vocabulary.

The prompt is text that any server can be sent: a line for each item of the history, its token first and then
its title. The next line begins with the answer, so that one pass ranks the whole catalogue; and every line of
the history answers what stands before it, so that training has as many answers in a prompt as it has items.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from core.errors import ModelError
from core.lm.prompts import MAX_TITLE_TOKENS, Ints, Packed, TokenRun, encode_titles, one_line, pack

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def token_name(item: int) -> str:
    """The text that is an item's token."""
    return f"<item_{item}>"


class TokenPrompt:
    """The prompt of a history, as text and as tokens.

    Args:
        tokenizer: the language model's; a copy of it is given the items' tokens.
        titles: display title per item; over-long ones are cut to 48 tokens.
        history: text before the items.

    Raises:
        ModelError: the model has such tokens already.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, titles: Sequence[str], history: str) -> None:
        self.tokenizer = copy.deepcopy(tokenizer)
        self.items = len(titles)
        self.first = _add_tokens(self.tokenizer, self.items)
        """The id of the first item's token; the others follow it."""
        start = tokenizer.bos_token if tokenizer.bos_token_id is not None else ""
        self.before = f"{start}{history}\n"
        shown = _plain_titles(self.tokenizer, titles)
        self.lines = [f"{token_name(item)} {title}\n" for item, title in enumerate(shown)]
        """What stands in the prompt for each item."""

    def text(self, history: Sequence[int]) -> str:
        """All of the prompt; whoever turns it into tokens adds none of their own at its start."""
        return self.before + "".join(self.lines[item] for item in history)

    def tokens(self, histories: Sequence[Sequence[int]]) -> list[list[int]]:
        """Token ids of each history's prompt."""
        return self.cut([self.text(history) for history in histories])

    def cut(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text; those of a prompt are those of its beginning and of its lines in a row."""
        found: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return found

    def vocabulary(self, own: int) -> int:
        """How many tokens a model of `own` tokens has with the items'."""
        return max(own, self.first + self.items)

    def pack(self, histories: Sequence[Sequence[int]]) -> Packed:
        """A row for each history, whose one branch is the prompt's last token."""
        rows = [np.asarray(row, dtype=np.int64) for row in self.tokens(histories)]
        return pack([[TokenRun(row[:-1])] for row in rows], [[TokenRun(row[-1:])] for row in rows])

    def pack_answers(self, histories: Sequence[Sequence[int]]) -> tuple[Packed, Ints]:
        """The same rows to be read before every item of the history but the first, and at the prompt's end.

        Returns:
            The rows, their ends (batch, C) in this order, and how many ends each row has (batch,). A row that
            has fewer than others begins with places of no meaning, each of them another one.
        """
        packed, counts = self.pack(histories), np.array([max(1, len(history)) for history in histories])
        ends = np.zeros((len(histories), counts.max()), dtype=np.int64)
        for row, (tokens, last) in enumerate(zip(packed.tokens, packed.ends[:, 0], strict=True)):
            own = np.flatnonzero((tokens >= self.first) & (tokens < self.first + self.items))[1:] - 1
            places = np.append(own, last)
            others = np.setdiff1d(np.arange(last), places)
            ends[row] = np.concatenate([others[: ends.shape[1] - len(places)], places])
        return replace(packed, ends=ends), counts

    def length(self, history: Sequence[int], candidates: Sequence[int]) -> int:
        """Tokens in one row, however many candidates there are."""
        del candidates
        return len(self.tokens([history])[0])


def _add_tokens(tokenizer: PreTrainedTokenizerBase, count: int) -> int:
    """Adds the items' tokens and gives the first one's id."""
    from tokenizers import AddedToken

    names = [token_name(item) for item in range(count)]
    known = tokenizer.get_vocab()
    if taken := next((name for name in names if name in known), None):
        raise ModelError(
            f"the model has a token {taken} already", "train on the model that it was made from instead"
        )
    tokenizer.add_tokens([AddedToken(name, normalized=False, special=False) for name in names])
    own = tokenizer.get_added_vocab()
    ids = [own[name] for name in names]
    if ids != list(range(ids[0], ids[0] + count)):
        raise ModelError("the model's tokenizer takes no tokens in a row", "train without --item-tokens")
    return int(ids[0])


def _plain_titles(tokenizer: PreTrainedTokenizerBase, titles: Sequence[str]) -> list[str]:
    """Titles on one line, none over-long, and none that spells a token which is no text."""
    added = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
    lines = [one_line(title) for title in titles]
    found = []
    for title, ids in zip(lines, encode_titles(tokenizer, lines), strict=True):
        said = str(tokenizer.decode(ids[:MAX_TITLE_TOKENS])) if len(ids) > MAX_TITLE_TOKENS else title
        for name in added:
            said = said.replace(name, " ".join(name))
        found.append(said)
    return found
