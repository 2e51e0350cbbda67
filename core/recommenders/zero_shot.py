"""The language model as it comes, asked without any training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.evaluation.answer_matching import WrittenAnswer
from core.evaluation.metrics import Scores, summarize
from core.events import Notice
from core.lm.checking import load_checked
from core.lm.decoder import decoder_view
from core.lm.likelihood import AnswerRanker
from core.lm.prompts import AnswerPrompt
from core.lm.sharding import shard_layers
from core.recommenders.base import FitReport, Recommender, Task
from core.recommenders.batching import (
    answer_in_batches,
    notes_on_answers,
    score_in_batches,
    shared_ranks,
    validation_cases,
)
from core.run_time import run_seconds


class ZeroShot(Recommender):
    """The language model as it comes, asked for the next title with the paper's prompt, without item slots.

    A candidate's score is the log-likelihood of its title as the answer; whether it is summed over the
    title's tokens or averaged is chosen on validation.
    """

    name = "zero-shot"
    VALIDATION_CASES = 48
    BATCH = 4

    def fit(self, task: Task) -> FitReport:
        """Loads the model and chooses how title lengths count."""
        started = run_seconds()
        self.llm = load_checked(task.config.model, task.watch(self.name))
        prompt = AnswerPrompt(
            self.llm.tokenizer,
            task.texts,
            task.dataset.card.prompts.answer_templates,
        )
        shard_layers(self.llm)
        packed = self.llm.reading.packed
        upper = decoder_view(self.llm.decoder, 0, self.llm.depth, norm=True, packed=packed)
        self.ranker = AnswerRanker(self.llm, prompt, None, upper, None)
        loading = run_seconds() - started
        self.protocol = task.config.answering.protocol
        if self.protocol != "rank":
            return self._report(loading, notes_on_answers(task)[:1])
        self.mean = False
        cases = validation_cases(task, self.VALIDATION_CASES)
        ranks = shared_ranks(self._both, cases, self.BATCH, task.watch(self.name), countings=2)
        of_sum, of_mean = (summarize(counted)["MRR"] for counted in ranks.T)
        self.mean = of_mean > of_sum
        how = "the mean over" if self.mean else "the sum over"
        note = f"a title's likelihood is {how} its tokens (chosen on {len(cases)} validation cases)"
        task.emit(Notice(f"zero-shot: {note}"))
        return self._report(loading, [note])

    def _report(self, loading: float, notes: list[str]) -> FitReport:
        return FitReport(
            total_parameters=sum(
                p.numel() * (2 if p.dtype == torch.uint8 else 1) for p in self.llm.model.parameters()
            ),
            load_seconds=loading,
            notes=notes,
        )

    def _both(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Tensor:
        """(batch, 2 C) the sums over the titles' tokens, then the means."""
        total, lengths = self.ranker.token_likelihoods(histories, candidates, candidates)
        return torch.cat([total, total / lengths], dim=1)

    def _scores(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Tensor:
        total, lengths = self.ranker.token_likelihoods(histories, candidates, candidates)
        return total / lengths if self.mean else total

    def score(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Scores:
        """Log-likelihoods of the candidates' titles."""
        return score_in_batches(self._scores, histories, candidates, self.BATCH, after=self.after_batch)

    def answers(
        self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]
    ) -> list[WrittenAnswer] | None:
        """What the model writes, under a protocol that asks for it."""
        if self.protocol == "rank":
            return None

        def ask(rows: Sequence[Sequence[int]], offered: Sequence[Sequence[int]]) -> list[str]:
            return self.ranker.answer(rows, offered, self.protocol == "constrained")

        title = self.ranker.prompt.title
        return answer_in_batches(ask, title, histories, candidates, self.BATCH, self.after_batch)
