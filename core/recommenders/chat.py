"""A chat model as it comes, asked over the network for one of the candidates (the paper's GPT-4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from core.errors import Interrupted
from core.evaluation.answer_matching import WrittenAnswer, read_answer
from core.evaluation.metrics import Scores
from core.events import Notice
from core.lm.prompts import one_line, prompt_text
from core.recommenders.base import FitReport, Recommender, Task
from core.recommenders.chat_answers import Answers
from core.recommenders.chat_client import (
    TOKEN_CHARACTERS,
    ChatServer,
    Reply,
    cost,
    estimated_tokens,
    prices,
    read_key,
    usage,
)
from core.training import parallel

INSTRUCTION = (
    "Answer with one title from the list, exactly as it is written there, on one line, and with nothing else."
)
"""Stands before the card's words: a chat model that is not told so explains its choice."""


class Chat(Recommender):
    """Nothing is learnt: every test case is one question, in the words of the card's first template."""

    name = "chat"

    def fit(self, task: Task) -> FitReport:
        """Connects, and says what will be asked and what it may cost, before anything is."""
        self.task, self.config = task, task.config.chat
        self.titles = [one_line(title) for title in task.dataset.catalogue.titles]
        self.template = task.dataset.card.prompts.answer_templates[0]
        self.server = ChatServer(self.config, read_key(), task.should_stop)
        self.prompts = {
            self.prompt(case.history, case.candidates): case.candidates
            for cases in task.samples.test.values()
            for case in cases
        }
        self.answers_on_disk = Answers(task.folder / "chat", self.config, parallel.rank())
        known = self.answers_on_disk.load(self.prompts)
        self.known = {prompt: reply for prompt, reply in known.items() if reply.text is not None}
        self.warned: set[str] = set()
        task.emit(Notice(self._announcement()))
        parallel.wait()  # nobody asks before everybody knows what is on disk
        if self.server.is_in_clear:
            task.emit(
                Notice(f"{self.config.url} is not encrypted: the key can be read on its way", "warning")
            )
        notes = [
            "asked in text alone, without training",
            "the answer is written freely; a case whose answer is not the target has the last rank",
        ]
        if self.known:
            kept = f"{len(self.known)} of {len(self.prompts)} answers are an earlier run's"
            notes.append(f"{kept}: the time per user says nothing of the server")
        return FitReport(notes=notes)

    def prompt(self, history: Sequence[int], candidates: Sequence[int]) -> str:
        """The question: what the language model's text-only prompt says, after one sentence."""
        titles = self.titles
        text = prompt_text(self.template, [titles[i] for i in history], [titles[i] for i in candidates])
        return f"{INSTRUCTION}\n\n{text}"

    def _announcement(self) -> str:
        """What is about to be asked, with the costs as far as they can be told."""
        asked = [prompt for prompt in self.prompts if prompt not in self.known]
        if not asked:
            return (
                f"chat: all {len(self.prompts)} answers of {self.config.model} are on disk, nothing is asked"
            )
        tokens = estimated_tokens(asked)
        said = (
            f"chat: {len(asked)} requests to {self.config.model} at {self.config.url}, "
            f"about {tokens} prompt tokens (estimated: {TOKEN_CHARACTERS} characters make one)"
        )
        if self.known:
            said += f"; {len(self.known)} answers are on disk"
        if self.config.is_priced:
            titles = [self.titles[item] for prompt in asked for item in self.prompts[prompt]]
            answer = estimated_tokens(titles) // max(1, len(titles)) + 1
            about = cost(self.config, tokens, answer * len(asked))
            said += f"; about {about:.2f} {prices(self.config)}, where an answer is a title"
        return said

    def answers(
        self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]
    ) -> list[WrittenAnswer]:
        """What the model writes, one request after the other; answers on disk are not asked for again.

        Raises:
            Interrupted: the task asked to stop; what was answered is on disk.
            InputError: the first request shows that key, model or address are wrong.
        """
        found = []
        for history, row in zip(histories, candidates, strict=True):
            found.append(read_answer(self._reply(history, row).line, [self.titles[item] for item in row]))
            if self.after_batch is not None:
                self.after_batch(1)
        return found

    def _reply(self, history: Sequence[int], candidates: Sequence[int]) -> Reply:
        prompt = self.prompt(history, candidates)
        if prompt not in self.known:
            if self.task.should_stop():
                raise Interrupted
            reply = self.server.ask(prompt)
            self.answers_on_disk.add(prompt, reply)
            self.known[prompt] = reply  # also a failure: within one run it is not asked again
            self._warn(reply.failure)
        return self.known[prompt]

    def _warn(self, failure: str) -> None:
        """Says each kind of failure once, while it can still be stopped."""
        if failure and failure not in self.warned:
            self.warned.add(failure)
            text = f"chat: {failure}; such cases count as invalid answers"
            self.task.emit(Notice(text, "warning"))

    def score(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Scores:
        """One for the candidate that is the answer, zero for all others; of a chat model no more is known."""
        scores = np.zeros((len(histories), len(candidates[0])), dtype=np.float32)
        for row, answer in zip(scores, self.answers(histories, candidates), strict=True):
            if answer.choice is not None:
                row[answer.choice] = 1
        return scores

    def remarks(self) -> list[str]:
        """Who answered, the usage that the server reported, what it cost, and what failed."""
        replies = [*self.answers_on_disk.load(self.prompts).values()]
        came = [reply for reply in replies if reply.text is not None]
        names = ", ".join(dict.fromkeys(reply.model for reply in came if reply.model))
        notes = [
            f"asked {self.config.model} at {self.config.url}" + (f", answered by {names}" if names else "")
        ]
        sent, said = usage(came, lambda r: r.prompt_tokens), usage(came, lambda r: r.answer_tokens)
        if not sent[1]:
            notes.append(f"the server reported no usage of its {len(came)} answers")
        else:
            of = f"of {sent[1]} of {len(came)} answers" if sent[1] < len(came) else f"of {len(came)} answers"
            note = f"usage {of} as the server reported it: {sent[0]} prompt and {said[0]} answer tokens"
            if self.config.is_priced:
                note += f", {cost(self.config, sent[0], said[0]):.4f} {prices(self.config)}"
            notes.append(note)
        failures = Counter(reply.failure for reply in replies if reply.failure)
        if failures:
            listed = ", ".join(f"{failure} {count}" for failure, count in failures.most_common())
            notes.append(f"{failures.total()} cases without a usable answer count as invalid: {listed}")
        return notes

    def finish(self) -> None:
        """Closes the connection; the answers stay, for other seeds and further cases."""
        self.server.client.close()
