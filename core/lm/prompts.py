"""From items to token ids: prompts as rows of tokens with item slots, and candidates as branches of a row.

A row holds a shared prefix (branch 0) and any number of branches (1 .. C). A branch sees the prefix and
itself, and its positions restart after the prefix: one pass reads every candidate as if it were alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ints = npt.NDArray[np.int64]

MAX_TITLE_TOKENS = 48
SLOT = "\n"
"""What a slot looks like to the tokenizer: the line's end, where the item's vector is added."""
LENGTH_STEP = 16
"""Rows are padded to a multiple of this: few shapes, so that freed memory fits the next batch."""
NO_ITEM = -1
USER = -2
"""Marks the slot of the user's own vector, at the question's end."""
PADDING = -1
HISTORY, CANDIDATES = "{history}", "{candidates}"
"""Where a template has a list of titles."""


@dataclass(frozen=True)
class TokenRun:
    """A run of tokens in a row."""

    tokens: Ints
    """Token ids, or places in a list of known states."""
    item: int = NO_ITEM
    """The item whose vector is added at the last token, if any."""


@dataclass(frozen=True)
class Packed:
    """A batch of rows; T is the longest one's length or a little more, padding on the right."""

    tokens: Ints
    """(batch, T), 0 where padded."""
    positions: Ints
    """(batch, T) rotary positions."""
    branch: Ints
    """(batch, T) 0 for the prefix, 1 .. C for branches, -1 for padding."""
    slots: Ints
    """(batch, T) the item whose vector is added here, `USER` for the user's, -1 elsewhere."""
    ends: Ints
    """(batch, C) index of each branch's last token."""


def pack(prefixes: Sequence[Sequence[TokenRun]], branches: Sequence[Sequence[TokenRun]]) -> Packed:
    """Lays out n rows, each with its prefix and C branches (the same C in every row)."""
    rows = [_row(prefix, own) for prefix, own in zip(prefixes, branches, strict=True)]
    length = max(len(row[0]) for row in rows)
    length = -(-length // LENGTH_STEP) * LENGTH_STEP

    def padded(part: int, fill: int) -> Ints:
        return np.stack(
            [np.pad(row[part], (0, length - len(row[part])), constant_values=fill) for row in rows]
        )

    return Packed(
        tokens=padded(0, 0),
        positions=padded(1, 0),
        branch=padded(2, PADDING),
        slots=padded(3, NO_ITEM),
        ends=np.stack([row[4] for row in rows]),
    )


def _row(prefix: Sequence[TokenRun], branches: Sequence[TokenRun]) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    pieces = [*prefix, *branches]
    lengths = np.array([len(piece.tokens) for piece in pieces])
    shared = int(lengths[: len(prefix)].sum())
    tokens = np.concatenate([piece.tokens for piece in pieces])
    number = np.concatenate([np.zeros(len(prefix), dtype=np.int64), np.arange(1, len(branches) + 1)])
    ends = np.cumsum(lengths) - 1
    branch = np.repeat(number, lengths)
    starts = np.repeat(ends - lengths + 1, lengths)
    positions = np.arange(len(tokens))
    positions = np.where(branch > 0, positions - starts + shared, positions)
    slots = np.full(len(tokens), NO_ITEM)
    slots[ends] = [piece.item for piece in pieces]
    return tokens, positions, branch, slots, ends[len(prefix) :]


def visible(branch: Ints) -> npt.NDArray[np.bool_]:
    """(batch, 1, T, T) whether a query (third axis) may look at a key: earlier, in prefix or own branch."""
    query, key = branch[:, :, None], branch[:, None, :]
    length = branch.shape[1]
    allowed = ((key == 0) | (key == query)) & np.tri(length, dtype=bool) & (key != PADDING)
    # A padded query must see something, or its attention is not a number.
    seen: npt.NDArray[np.bool_] = (allowed | np.eye(length, dtype=bool))[:, None]
    return seen


class ListwisePrompt:
    """The listwise objective's packed prompt: preamble, history, question, then each candidate as a branch.

    Every item is one segment, its title and a slot, the same in the history and among the candidates. Pieces
    hold places in the flat list of all segments' tokens, where the frozen lower layers' states are kept.

    Args:
        tokenizer: the language model's.
        titles: display title per item; over-long ones are cut to 48 tokens.
        preamble: text before the history.
        question: text between history and candidates.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, titles: Sequence[str], preamble: str, question: str
    ) -> None:
        encoded = encode_titles(tokenizer, titles)
        slot = slot_token(tokenizer)
        segments = [
            [*beginning(tokenizer), *encode(tokenizer, preamble + SLOT)],
            encode(tokenizer, question + SLOT),
            *([*ids[:MAX_TITLE_TOKENS], slot] for ids in encoded),
        ]
        self.ids: Ints = np.concatenate([np.asarray(segment, dtype=np.int64) for segment in segments])
        self.starts = np.concatenate([[0], np.cumsum([len(segment) for segment in segments])])
        self.items = len(titles)
        self.preamble, self.question = self._piece(0), self._piece(1, USER)
        self._items = [self._piece(2 + item, item) for item in range(self.items)]

    def _piece(self, segment: int, item: int = NO_ITEM) -> TokenRun:
        return TokenRun(np.arange(self.starts[segment], self.starts[segment + 1]), item)

    def item(self, item: int) -> TokenRun:
        """An item's segment."""
        return self._items[item]

    def pack(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Packed:
        """Rows of n histories with C candidates each."""
        return pack(
            [[self.preamble, *map(self.item, history), self.question] for history in histories],
            [list(map(self.item, row)) for row in candidates],
        )

    def length(self, history: Sequence[int], candidates: Sequence[int]) -> int:
        """Tokens in one row."""
        shared = len(self.preamble.tokens) + len(self.question.tokens)
        return shared + sum(len(self.item(item).tokens) for item in (*history, *candidates))


class AnswerPrompt:
    """The paper's hybrid prompt: history and candidates listed, the answer's tokens follow (paper §3.1).

    Pieces hold token ids. Each possible answer is a branch: the title, then the end of the line.

    Args:
        tokenizer: the language model's.
        titles: display title per item.
        templates: texts with `{history}`, `{candidates}` and, optionally, `{count}`; or one such text.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, titles: Sequence[str], templates: str | Sequence[str]
    ) -> None:
        self.tokenizer = tokenizer
        self.templates = (templates,) if isinstance(templates, str) else tuple(templates)
        self.end = slot_token(tokenizer)
        # On one line, for a line's end is the end of an answer.
        lines = [f" {one_line(title)}" for title in titles]
        # No title may say that the text ends.
        spoken = encode_titles(tokenizer, lines)
        self._items = [
            TokenRun(np.array([*ids[:MAX_TITLE_TOKENS], self.end], dtype=np.int64), item)
            for item, ids in enumerate(spoken)
        ]
        self._texts: dict[str, TokenRun] = {}

    def _text(self, text: str, first: bool = False) -> TokenRun:
        key = f"{first}{text}"
        if key not in self._texts:
            ids = encode(self.tokenizer, text)
            self._texts[key] = TokenRun(
                np.array([*beginning(self.tokenizer), *ids] if first else ids, dtype=np.int64)
            )
        return self._texts[key]

    def answer(self, item: int) -> TokenRun:
        """The tokens that name an item: its title and the end of the line; no vector is added."""
        return TokenRun(self._items[item].tokens)

    def title(self, item: int) -> str:
        """An item's title as the prompt shows it: on one line, over-long ones cut."""
        said: str = self.tokenizer.decode(self._items[item].tokens[:-1])  # type: ignore[assignment]
        return said.strip()

    @cached_property
    def line_ends(self) -> list[int]:
        """Every token that ends an answer: those that only break the line, and the end of text."""
        ids = range(len(self.tokenizer))
        texts = self.tokenizer.batch_decode([[token] for token in ids])
        ends = [token for token, text in zip(ids, texts, strict=True) if "\n" in text and not text.strip()]
        own = self.tokenizer.eos_token_id
        return sorted({self.end, *ends, *([] if own is None else [int(own)])})

    def read(self, tokens: Sequence[int]) -> str:
        """The text of an answer's tokens, up to the end of its line."""
        ends = set(self.line_ends)
        kept = list(takewhile(lambda token: token not in ends, tokens))
        said: str = self.tokenizer.decode(kept, skip_special_tokens=True)  # type: ignore[assignment]
        return said.strip().split("\n")[0].strip()

    def prefix(self, history: Sequence[int], candidates: Sequence[int], template: int = 0) -> list[TokenRun]:
        """Everything before the answer, in the words of a template."""
        items = {HISTORY: history, CANDIDATES: candidates}
        pieces: list[TokenRun] = []
        for part in self.parts(len(candidates), template):
            pieces += [part] if isinstance(part, TokenRun) else [self._items[item] for item in items[part]]
        return pieces

    def parts(self, count: int, template: int = 0) -> list[TokenRun | str]:
        """A template for so many candidates: its text as tokens, `HISTORY` and `CANDIDATES` for the lists."""
        text = self.templates[template].replace("{count}", str(count))
        parts: list[TokenRun | str] = []
        for part in _split(text, (HISTORY, CANDIDATES)):
            if part in (HISTORY, CANDIDATES):
                parts.append(part)
            elif part.strip():
                parts.append(self._text(part.strip(" "), first=not parts))
        return parts

    def pack(
        self,
        histories: Sequence[Sequence[int]],
        candidates: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        templates: Sequence[int] | None = None,
    ) -> Packed:
        """Rows of n prompts, in the first template unless told, with the answers to be scored as branches."""
        asked = zip(histories, candidates, templates or [0] * len(histories), strict=True)
        return pack(
            [self.prefix(history, row, template) for history, row, template in asked],
            [list(map(self.answer, row)) for row in answers],
        )


def prompt_text(template: str, history: Sequence[str], candidates: Sequence[str]) -> str:
    """What `AnswerPrompt` says to a language model, as text: every title on a line of its own, no slots."""
    lists = {HISTORY: history, CANDIDATES: candidates}
    said = ""
    for part in _split(template.replace("{count}", str(len(candidates))), tuple(lists)):
        if part in lists:
            said += "".join(f" {one_line(title)}\n" for title in lists[part])
        else:
            said += part.strip(" ")
    return said


def one_line(title: str) -> str:
    """A title without line breaks, for a line's end is the end of a title."""
    return " ".join(title.split())


def _split(text: str, marks: Sequence[str]) -> list[str]:
    parts = [text]
    for mark in marks:
        parts = [
            piece
            for part in parts
            for i, rest in enumerate(part.split(mark) if part not in marks else [part])
            for piece in ([mark, rest] if i else [rest])
        ]
    return [part for part in parts if part]


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text, without special tokens."""
    return list(tokenizer.encode(text, add_special_tokens=False))


def encode_titles(tokenizer: PreTrainedTokenizerBase, titles: Sequence[str]) -> list[list[int]]:
    """Token ids of each title; one that spells a special token, such as "</s>", is read as plain text."""
    found: list[list[int]] = tokenizer(list(titles), add_special_tokens=False, split_special_tokens=True)[
        "input_ids"
    ]
    return found


def slot_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the token that a slot shows to the lower layers."""
    return encode(tokenizer, SLOT)[-1]


def beginning(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token that starts a text, where the model has one."""
    return [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
