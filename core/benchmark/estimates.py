"""How long a plan will take on this machine: the work itself is timed, once, a few layers and steps of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.benchmark.costs import Measured, Stage, plan_stages, total
from core.benchmark.layers import FrozenLayers, Rows, best, mean_length
from core.config.settings import EncoderConfig, ModelConfig, RunConfig
from core.data.item_texts import item_texts
from core.data.types import Dataset, Samples
from core.encoders.base import Encoder, new_encoder
from core.encoders.job import EncoderJob
from core.encoders.morec import MoRec
from core.hardware import release_memory
from core.lm.loading import settle_precision
from core.lm.prompts import MAX_TITLE_TOKENS, one_line
from core.lm.shape import load_seconds, model_settings, settings_folder, weights
from core.lm.title_vectors import DEPTH
from core.methods import METHODS, MethodSeed, any_needs_llm, settle
from core.training.optimizers import make_optimizer

ROWS = 2
"""Read at once where a few layers are timed on a CPU."""
CHARACTERS = 3.4
"""Of a title, to a token, where the tokenizer has not been fetched."""
ANSWER_TITLES = 2.0
"""Tokens written until the last row of a batch ends its line, in mean titles."""


def minutes(config: RunConfig, runs: Sequence[MethodSeed], dataset: Dataset, samples: Samples) -> float:
    """Estimated minutes for these (method, seed) runs on this machine."""
    return total(stages(config, runs, dataset, samples)) / 60


def stages(
    config: RunConfig, runs: Sequence[MethodSeed], dataset: Dataset, samples: Samples
) -> list[list[Stage]]:
    """What each of these runs will do, and how long that takes on this machine."""
    if not runs:
        return []
    found = measured(config, [method for method, _ in runs], dataset, samples)
    return plan_stages(found, config, runs, samples)


def measured(config: RunConfig, methods: Iterable[str], dataset: Dataset, samples: Samples) -> Measured:
    """What these methods' work takes here; whatever was timed before in this process is not timed again.

    Raises:
        ModelError: the language model's settings cannot be read.
        InputError: the device cannot compute in the precision asked for.
    """
    methods = sorted(set(methods))
    items = len(dataset.catalogue)
    kinds = {METHODS[method].network or method for method in methods if METHODS[method].is_encoder}
    kinds |= {config.encoder.kind for method in methods if METHODS[method].has_adapter}
    language = _Language(config, methods, dataset, samples) if any_needs_llm(methods) else None
    width = int(model_settings(config.model)["hidden_size"]) if "morec" in kinds else 0
    span = dataset.rules.max_history
    encoder = replace(config.encoder, kind="sasrec", tune=False, epochs=1, steps=0, patience=1)
    found = Measured(
        items=items,
        step={kind: step_seconds(kind, items, width, encoder, span) for kind in sorted(kinds)},
    )
    return found if language is None else language.added_to(found)


# --- the language model ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """Seconds a sample, a case, an answer; and a token in one layer."""

    train: float = 0.0
    rank: float = 0.0
    answer: float = 0.0
    token: float = 0.0


_TIMES: dict[tuple[object, ...], Times] = {}
"""What was timed in this process."""


class _Language:
    """Times the language model's part of some methods, first what needs no adapter."""

    def __init__(self, config: RunConfig, methods: Sequence[str], dataset: Dataset, samples: Samples) -> None:
        self.methods = methods
        self.adapter = replace(config.adapter, alpha=1.0, dropout=0.0, experts=1)
        self.model = settle_precision(config.model)
        self.rows = row_lengths(config, dataset, samples)
        self.settings = model_settings(self.model)
        self.depth = int(self.settings["num_hidden_layers"])
        self.adapted = min(self.depth, self.adapter.layers or self.depth)
        most = config.training.micro_batch_size
        self.at_once = most if torch.cuda.is_available() else min(ROWS, most)
        self.training = config.training
        with_adapter = [settle(config, method) for method in methods if METHODS[method].has_adapter]
        self.objectives = sorted({one.training.asks for one in with_adapter})

    def added_to(self, found: Measured) -> Measured:
        """The same with what the language model takes."""
        times: dict[str, Times] = {}
        records = [METHODS[method] for method in self.methods]
        as_it_comes = any(record.needs_llm and not record.has_adapter for record in records)
        if as_it_comes or "language-model" in self.objectives:
            times["zero-shot"] = self._timed("plain", self._plain)
        if "listwise" in self.objectives:
            times["listwise"] = self._timed("listwise", self._listwise)
        if "language-model" in self.objectives:
            times["language-model"] = self._timed("words", self._words)
        if "item-tokens" in self.objectives:
            times["item-tokens"] = self._timed("tokens", self._item_tokens)
        vars(self).pop("layers", None)
        release_memory()
        token = next(iter(times.values())).token * self.rows.title
        return replace(
            found,
            load=load_seconds(weights(self.settings)),
            title=(self.depth - self.adapted) * token if "listwise" in times else 0.0,
            vector=max(1, round(DEPTH * self.depth)) * token,
            train={name: one.train for name, one in times.items()},
            rank={name: one.rank for name, one in times.items()},
            answer={name: one.answer for name, one in times.items()},
        )

    @cached_property
    def layers(self) -> FrozenLayers:
        """On a CPU a row among a few costs what it costs among many; alone it costs more."""
        return FrozenLayers(self.settings, self.model, self.at_once)

    def _timed(self, kind: str, work: Callable[[], Times]) -> Times:
        own: tuple[object, ...] = (kind, self.model, self.rows, self.at_once)
        if kind != "plain":
            own = (*own, self.adapter, self.training.candidates, self.training.checkpointing)
        if own not in _TIMES:
            _TIMES[own] = work()
        return _TIMES[own]

    def _plain(self) -> Times:
        """The model as it comes, asked with the paper's prompt."""
        rows, layers = self.rows, self.layers
        asked, given = rows.answers(rows.candidates, self.at_once), rows.answers(1, self.at_once)
        reading = layers.reading(asked)
        token = reading / asked.tokens.shape[1]
        writing = given.tokens.shape[1] * token + ANSWER_TITLES * rows.title * layers.writing()
        answers = layers.predicting(round(rows.candidates * rows.title))
        return Times(0.0, self.depth * reading + answers, self.depth * writing, token)

    def _listwise(self) -> Times:
        """A listwise sample and a ranked case, in the adapted layers."""
        rows, layers = self.rows, self.layers
        asked = rows.listwise(rows.candidates, self.at_once)
        given = rows.listwise(self.training.candidates, self.at_once)
        token = layers.reading(asked) / asked.tokens.shape[1]
        layers.adapt(self.adapter)
        rank, train = layers.ranking(asked, self.adapted), layers.training(given, self.adapted)
        if self.training.checkpointing:
            train += rank * given.tokens.shape[1] / asked.tokens.shape[1]
        return Times(train, rank, 0.0, token)

    def _item_tokens(self) -> Times:
        """A sample and a ranked case where each item is a token: one prompt through all layers."""
        layers, asked = self.layers, self.rows.item_tokens(self.at_once)
        layers.adapt(self.adapter)
        rank, train = layers.ranking(asked, self.depth), layers.training(asked, self.depth)
        if self.training.checkpointing:
            train += rank
        return Times(train, rank, 0.0, rank / asked.tokens.shape[1] / self.depth)

    def _words(self) -> Times:
        """A sample, a ranked case and a written answer of the paper's prompt, with an adapter."""
        rows, layers, plain = self.rows, self.layers, self._timed("plain", self._plain)
        asked, given = rows.answers(rows.candidates, self.at_once), rows.answers(1, self.at_once)
        layers.adapt(self.adapter)
        more = max(0.0, layers.reading(asked) - plain.token * asked.tokens.shape[1]) * self.adapted
        below = (self.depth - self.adapted) * given.tokens.shape[1] * plain.token
        said = 3 * layers.predicting(round(rows.title))  # forward, and twice backward
        train = below + self.adapted * layers.training_whole(given) + said
        if self.training.checkpointing:
            train += self.adapted * given.tokens.shape[1] * plain.token + more
        return Times(train, plain.rank + more, plain.answer + more, plain.token)


# --- rows --------------------------------------------------------------------------------------------------


def row_lengths(config: RunConfig, dataset: Dataset, samples: Samples) -> Rows:
    """How long the rows of this dataset's cases are for this model's tokenizer."""
    prompts = dataset.card.prompts
    cases = [case for of_set in samples.test.values() for case in of_set] or list(samples.validation)
    shown = [item for case in cases for item in (*case.history, *case.candidates)]
    names = list(dict.fromkeys(shown)) or list(range(min(100, len(dataset.catalogue))))
    count = _counter(config.model)
    texts = item_texts(dataset.catalogue, config.model.item_text)
    spoken = [f" {one_line(texts[item])}" for item in names]
    lengths = dict(zip(names, count(spoken), strict=True))
    text, words = count([f"{prompts.history}\n{prompts.ask}\n", prompts.answer_templates[0]])
    return Rows(
        title=1
        + round(2 * min(MAX_TITLE_TOKENS, mean_length([lengths[item] for item in shown or names]))) / 2,
        text=text,
        words=words,
        history=max(1, round(mean_length([len(case.history) for case in cases]))),
        candidates=max(2, round(mean_length([len(case.candidates) for case in cases]))),
    )


def _counter(model: ModelConfig) -> Callable[[list[str]], list[int]]:
    """Counts texts' tokens: with the model's tokenizer where it is on disk, else by their characters."""
    folder = settings_folder(model)
    file = folder / "tokenizer.json" if folder else Path("/none")
    if not file.is_file():
        return lambda texts: [max(1, round(len(text) / CHARACTERS)) for text in texts]
    tokenizer = _tokenizer(file)
    return lambda texts: [len(one.ids) for one in tokenizer.encode_batch(texts, add_special_tokens=False)]


@cache
def _tokenizer(file: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(file))


# --- encoders ----------------------------------------------------------------------------------------------


@cache
def step_seconds(kind: str, items: int, title_width: int, config: EncoderConfig, max_history: int) -> float:
    """Seconds for an optimizer step of an encoder on a catalogue of this size."""
    model: Encoder = (
        MoRec(torch.randn(items, title_width), config, max_history)
        if kind == "morec"
        else new_encoder(kind, items, replace(config, kind=kind), max_history)
    )
    rng = np.random.default_rng(0)
    count = -(-config.batch_size // 6)  # so that there are pieces for a batch, and most of them are full
    sequences = [rng.integers(items, size=6 * max_history) for _ in range(count)]
    job = EncoderJob(model, sequences, (), 0)
    optimizer = make_optimizer([{**group, "lr": 1e-3} for group in job.parameter_groups()])

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with job.loss(list(range(config.batch_size)), 0) as (loss, count):
            (loss / max(1, count)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    step()  # the first makes the optimizer and imports what it needs
    return best(step)
