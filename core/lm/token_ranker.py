"""Ranking by the next token: each item has one, and a plain causal language model's logits are the scores."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import ModelError
from core.lm.decoder import EndReader, run_decoder
from core.lm.loading import LanguageModel
from core.lm.prompts import Packed
from core.lm.token_prompt import TokenPrompt

PROBES = 8
"""Random states and tokens that tell whether a model's tables are read as they stand."""
LOUD = 100.0
"""Deviation of the probes' logits: more than any family that caps its logits lets through."""
SOME, LIKELIER = 5, 8.0
"""Items of a made-up history, and how much likelier than text an item is after it when training starts."""
CLOSE = 0.05
"""A relative difference that rounding in 16 bit explains."""


class ItemTokens(nn.Module):
    """The items' rows in the table of embeddings and in the output table, made of the encoder's vectors.

    Two projectors of the frozen item vectors: one for what the model reads, one for what it answers. The
    second starts at zero but for its bias, so that training starts with all items equal.

    Args:
        item_vectors: (items, d), frozen.
        width: of the language model's states.
        read: typical size of an entry of the embeddings beside which the items' stand.
        said: typical size of an entry of the states that the logits are made of.
    """

    item_vectors: Tensor

    def __init__(self, item_vectors: Tensor, width: int, read: float, said: float) -> None:
        super().__init__()
        vectors = item_vectors.detach().float()
        self.register_buffer("item_vectors", vectors / vectors.square().mean().sqrt(), persistent=False)
        self.scales = (read, 1 / (said * width**0.5))
        size = vectors.shape[1]
        self.projector = nn.ModuleDict({name: nn.Linear(size, width) for name in ("read", "said")})
        nn.init.normal_(self.projector["read"].weight, std=size**-0.5)  # type: ignore[arg-type]
        nn.init.zeros_(self.projector["said"].weight)  # type: ignore[arg-type]
        for projector in self.projector.values():
            nn.init.zeros_(projector.bias)  # type: ignore[arg-type]

    @torch.no_grad()
    def start_at(self, state: Tensor, logit: float) -> None:
        """Lets every item have this logit after the state (width,)."""
        bias = self.projector["said"].bias
        bias.copy_(state * logit / (state.square().sum() * self.scales[1]))  # type: ignore[operator]

    def read(self, items: Tensor) -> Tensor:
        """(n, width) rows of the table of embeddings."""
        rows: Tensor = self.projector["read"](self.item_vectors[items]) * self.scales[0]
        return rows

    def said(self, items: Tensor) -> Tensor:
        """(n, width) rows of the output table."""
        rows: Tensor = self.projector["said"](self.item_vectors[items]) * self.scales[1]
        return rows


class TokenRanker(nn.Module):
    """Scores a candidate by the logit of its token after the history's prompt.

    Args:
        llm: the language model.
        prompt: the prompt, with the items' tokens.
        decoder: a view of all layers, final norm included.
        item_vectors: (items, d) of the sequence encoder.

    Raises:
        ModelError: rows added to the model's tables would not be read as they stand.
    """

    def __init__(
        self, llm: LanguageModel, prompt: TokenPrompt, decoder: nn.Module, item_vectors: Tensor
    ) -> None:
        super().__init__()
        check_tables(llm)
        self._parts = (llm, prompt, EndReader(decoder))  # a tuple: none of them is trained here
        self.items = ItemTokens(item_vectors, llm.width, *_typical_sizes(llm, prompt, decoder))
        self.withheld = torch.zeros(prompt.items, dtype=torch.bool)
        """(items,) true for those that training must not meet."""
        self._start_beside_text()

    def withhold(self, items: Collection[int]) -> None:
        """Lets nothing be predicted against the tokens of items that training must not meet."""
        self.withheld[list(items)] = True

    @property
    def prompt(self) -> TokenPrompt:
        """How histories become text and tokens."""
        return self._parts[1]

    @torch.no_grad()
    def _start_beside_text(self) -> None:
        """Gives the items together `LIKELIER` times the chance of all text after a made-up history."""
        llm, prompt, _ = self._parts
        self.items.to(llm.device)
        some = list(range(min(SOME, prompt.items)))
        state = self._read(prompt.pack([some]))[0, 0].float()
        text = float(torch.logsumexp(llm.logits(state[None].to(llm.dtype))[0].float(), dim=0))
        self.items.start_at(state, text + math.log(LIKELIER / prompt.items))

    def forward(
        self,
        histories: Sequence[Sequence[int]],
        candidates: Sequence[Sequence[int]],
        prior: Tensor | None = None,
    ) -> Tensor:
        """(batch, C) logits of the candidates' tokens."""
        del prior  # the model's answer stands for itself
        states = self._read(self.prompt.pack(histories))[:, 0]
        ids = torch.as_tensor(np.asarray(candidates, dtype=np.int64), device=states.device)
        asked, places = torch.unique(ids, return_inverse=True)
        scores: Tensor = (states.float() @ self.items.said(asked).T).gather(1, places)
        return scores

    def loss(
        self,
        histories: Sequence[Sequence[int]],
        candidates: Sequence[Sequence[int]],
        targets: Sequence[int],
        listwise: bool,
    ) -> Tensor:
        """Summed over the batch: mean cross-entropy of the row's answers.

        The answers are the target and, each to what stands before it, the history's items but the first.

        Args:
            histories: item sequences, oldest first.
            candidates: C items each.
            targets: each row's column in `candidates`.
            listwise: cross-entropy among the answer and the other candidates; else in the whole vocabulary.
        """
        packed, counts = self.prompt.pack_answers(histories)
        states = self._read(packed)  # (batch, P, width)
        device, most = states.device, states.shape[1]
        answers = np.zeros((len(histories), most), dtype=np.int64)
        for row, (history, offered, target) in enumerate(zip(histories, candidates, targets, strict=True)):
            own = [*history[1:], offered[target]]
            answers[row, most - len(own) :] = own
        right = torch.from_numpy(answers).to(device)
        if listwise:
            others = np.array([np.delete(row, place) for row, place in zip(candidates, targets, strict=True)])
            losses = self._among(states, right, torch.from_numpy(others).to(device))
        else:
            losses = self._in_vocabulary(states, right)
        real = np.arange(most) >= most - counts[:, None]
        weights = torch.from_numpy(real / counts[:, None]).to(losses)
        return (losses * weights).sum()

    def _among(self, states: Tensor, answers: Tensor, others: Tensor) -> Tensor:
        """(batch, P) cross-entropy of answers (batch, P) among themselves and the others (batch, C - 1)."""
        states = states.float()
        own = (states * self.items.said(answers)).sum(-1, keepdim=True)
        logits = torch.cat([own, states @ self.items.said(others).transpose(1, 2)], dim=-1)
        return torch.logsumexp(logits, dim=-1) - own.squeeze(-1)

    def _in_vocabulary(self, states: Tensor, answers: Tensor) -> Tensor:
        """(batch, P) cross-entropy of the answers' tokens among all tokens, text included."""
        llm, prompt, _ = self._parts
        flat = states.flatten(0, 1)
        everything = torch.arange(prompt.items, device=states.device)
        items = flat.float() @ self.items.said(everything).T
        items = items.masked_fill(self.withheld.to(items.device), -torch.inf)
        logits = with_items(llm.logits(flat).float(), items, prompt.first)
        losses = F.cross_entropy(logits, answers.flatten() + prompt.first, reduction="none")
        by_row: Tensor = losses.view(answers.shape)
        return by_row

    def _read(self, packed: Packed) -> Tensor:
        """(batch, P, width) states at the rows' ends."""
        llm, _, read = self._parts
        states: Tensor = read(self._embedded(packed), packed)
        return states.to(llm.device)

    def _embedded(self, packed: Packed) -> Tensor:
        """(batch, T, width) embeddings of packed rows, the items' from the projector."""
        llm, prompt, _ = self._parts
        tokens = torch.from_numpy(packed.tokens).to(llm.device)
        own = (tokens >= prompt.first) & (tokens < prompt.first + prompt.items)
        with torch.no_grad():
            hidden: Tensor = llm.model.get_input_embeddings()(tokens.masked_fill(own, 0))
        return hidden.index_put((own,), self.items.read(tokens[own] - prompt.first).to(hidden.dtype))


def with_items(text: Tensor, items: Tensor, first: int) -> Tensor:
    """(n, vocabulary) logits of a vocabulary in which the items' (n, items) follow `first` tokens of text.

    A table may be longer than its tokenizer: its unused rows are the items' from now on.
    """
    return torch.cat([text[:, :first], items, text[:, first + items.shape[1] :]], dim=1)


@torch.no_grad()
def check_tables(llm: LanguageModel) -> None:
    """Raises `ModelError` unless rows of a model's tables are what is read and what gives a logit.

    Some families scale embeddings or logits, cap them or add a bias: added rows would mean something else.
    """
    embedding, head = llm.model.get_input_embeddings(), llm.model.get_output_embeddings()  # type: ignore[no-untyped-call]
    read, said = (table.get_parameter("weight").detach() for table in (embedding, head))
    tokens = torch.arange(min(PROBES, len(read)), device=read.device)
    states = torch.randn(PROBES, llm.width, generator=torch.Generator().manual_seed(0)).to(said)
    plain = states.float() @ said.float().T
    loud = LOUD / float(plain.std())
    found = llm.logits((states * loud).to(said)).float()
    is_plain = (
        getattr(head, "bias", None) is None
        and torch.equal(embedding(tokens), read[tokens])
        and float((found - plain * loud).norm()) < CLOSE * float((plain * loud).norm())
    )
    if not is_plain:
        raise ModelError(
            f"{llm.name} does not read its tables as they stand (it scales or caps), so that no tokens can "
            "be added",
            "leave --item-tokens out, or choose another kind of model, such as Llama or Qwen",
        )


@torch.no_grad()
def _typical_sizes(llm: LanguageModel, prompt: TokenPrompt, decoder: nn.Module) -> tuple[float, float]:
    """The size of an entry of the prompt's embeddings, and of the states that its logits are made of."""
    packed = prompt.pack([[]])
    hidden = llm.model.get_input_embeddings()(torch.from_numpy(packed.tokens).to(llm.device))
    states = run_decoder(decoder, hidden, packed)[0, : int(packed.ends[0, 0]) + 1]
    sizes = (found.float().square().mean(-1).sqrt().median() for found in (hidden, states))
    first, last = (float(size) for size in sizes)
    return first, last
