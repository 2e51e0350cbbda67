"""Ranking by the likelihood of the answer's text, as a language model is trained to do (paper §3.1)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.lm.decoder import run_decoder
from core.lm.generation import generate_answers
from core.lm.loading import LanguageModel
from core.lm.prompts import AnswerPrompt, Packed
from core.lm.slots import ItemSlots
from core.lm.structure import layers_of

POSITIONS_PER_PASS = 1024
"""Predicted tokens whose logits over the vocabulary are held at once."""


@dataclass(frozen=True)
class Wording:
    """How a batch is asked."""

    templates: Sequence[int] | None = None
    """The template of each row; the first for all if not given."""
    hybrid: bool = True
    """Whether item vectors are added; without them the prompt is text alone."""


AT_TEST = Wording()
"""The first template, with item vectors where the ranker has them."""


class AnswerRanker(nn.Module):
    """Scores a candidate by the log-likelihood of its title as the answer to the paper's prompt.

    Args:
        llm: the language model; what follows its decoder turns states into logits.
        prompt: the template with the catalogue's titles.
        lower: a view of the frozen lower layers, or None where all layers are adapted.
        upper: a view of the adapted upper layers, final norm included.
        item_vectors: (items, d) for the item slots; None for a text-only prompt.
    """

    def __init__(
        self,
        llm: LanguageModel,
        prompt: AnswerPrompt,
        lower: nn.Module | None,
        upper: nn.Module,
        item_vectors: Tensor | None,
    ) -> None:
        super().__init__()
        self._parts = (llm, prompt, lower, upper)  # a tuple: none of them is trained here
        self.slots = None
        if item_vectors is not None:
            self.slots = ItemSlots(item_vectors, llm.width, self._typical_scale())

    def withhold(self, items: Collection[int]) -> None:
        """Leaves the slots of items empty that the encoder never met."""
        if self.slots is not None:
            self.slots.leave_empty(items)

    @property
    def prompt(self) -> AnswerPrompt:
        """How histories and candidates become a prompt."""
        return self._parts[1]

    def forward(
        self,
        histories: Sequence[Sequence[int]],
        candidates: Sequence[Sequence[int]],
        prior: Tensor | None = None,
    ) -> Tensor:
        """(batch, C) log-likelihoods of the candidates' titles as answers."""
        del prior  # the likelihood stands for itself
        return self.token_likelihoods(histories, candidates, candidates)[0]

    def loss(
        self,
        histories: Sequence[Sequence[int]],
        candidates: Sequence[Sequence[int]],
        answers: Sequence[int],
        wording: Wording = AT_TEST,
    ) -> Tensor:
        """Summed over the batch: mean cross-entropy of the answer's tokens."""
        rows = [[answer] for answer in answers]
        total, lengths = self.token_likelihoods(histories, candidates, rows, wording)
        return -(total / lengths).sum()

    def answer(
        self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]], constrained: bool
    ) -> list[str]:
        """What the model writes when it is asked; see `generate_answers`."""
        llm, prompt, lower, upper = self._parts
        entry = layers_of(upper)[0] if lower is not None else None
        return generate_answers(llm, prompt, self.slots, entry, histories, candidates, constrained)

    def token_likelihoods(
        self,
        histories: Sequence[Sequence[int]],
        candidates: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        wording: Wording = AT_TEST,
    ) -> tuple[Tensor, Tensor]:
        """(batch, A) log-likelihood of each answer's tokens, and how many tokens it has."""
        prompt = self._parts[1]
        packed = prompt.pack(histories, candidates, answers, wording.templates)
        hidden = self._read(packed, wording.hybrid)
        device = hidden.device
        branch = torch.from_numpy(packed.branch).to(device)
        tokens = torch.from_numpy(packed.tokens).to(device)
        row, column = torch.nonzero(branch > 0, as_tuple=True)
        number = branch[row, column]
        # A branch's first token is predicted at the prefix's end, every other one at the token before it.
        prefix_end = (branch == 0).sum(-1) - 1
        first = branch[row, column - 1] != number
        predicted_at = torch.where(first, prefix_end[row], column - 1)
        likelihood = self._log_probabilities(hidden[row, predicted_at], tokens[row, column])
        total = torch.zeros(len(histories), len(answers[0]), device=device)
        lengths = torch.zeros_like(total)
        total = total.index_put((row, number - 1), likelihood, accumulate=True)
        lengths = lengths.index_put((row, number - 1), torch.ones_like(likelihood), accumulate=True)
        return total, lengths

    def _read(self, packed: Packed, hybrid: bool) -> Tensor:
        llm, _, lower, upper = self._parts
        tokens = torch.from_numpy(packed.tokens).to(llm.device)
        with torch.no_grad():
            hidden = llm.model.get_input_embeddings()(tokens)
            if lower is not None:
                hidden = run_decoder(lower, hidden, packed)
        if self.slots is not None and hybrid:
            hidden = self.slots(hidden, packed.slots)
        return run_decoder(upper, hidden, packed)

    def _log_probabilities(self, states: Tensor, tokens: Tensor) -> Tensor:
        llm = self._parts[0]
        parts = []
        for start in range(0, len(states), POSITIONS_PER_PASS):
            piece = slice(start, start + POSITIONS_PER_PASS)
            logits = llm.logits(states[piece]).float()
            parts.append(torch.log_softmax(logits, dim=-1).gather(-1, tokens[piece, None]).squeeze(-1))
        return torch.cat(parts)

    @torch.no_grad()
    def _typical_scale(self) -> float:
        """Median size of a state's entry where slots are added."""
        llm, prompt, lower, _ = self._parts
        packed = prompt.pack([[0, 0, 0]], [[0, 0]], [[0]])
        hidden = llm.model.get_input_embeddings()(torch.from_numpy(packed.tokens).to(llm.device))
        if lower is not None:
            hidden = run_decoder(lower, hidden, packed)
        return float(hidden.float().square().mean(-1).sqrt().median())
