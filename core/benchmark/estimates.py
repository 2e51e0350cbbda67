"""How long a plan will take on this machine: the work itself is timed, once, a few layers and steps of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.benchmark.costs import Measured, plan_stages, total
from core.benchmark.layers import FrozenLayers, Rows, best, spread
from core.config.settings import AdapterConfig, EncoderConfig, ModelConfig, RunConfig, TrainingConfig
from core.data.card_files import load_card
from core.data.types import Dataset, Samples
from core.encoders.base import Encoder, new_encoder
from core.encoders.job import EncoderJob
from core.encoders.morec import MoRec
from core.hardware import release_memory
from core.lm.loading import load_seconds, settle_precision
from core.lm.prompts import MAX_TITLE_TOKENS, one_line
from core.lm.shape import layer_weights, model_settings, settings_folder
from core.lm.title_vectors import DEPTH
from core.methods import CONFIG_PARTS, ENCODER_METHODS, LLM_METHODS, settle
from core.training.optimizers import make_optimizer

CHARACTERS = 3.4
"""Of a title, to a token, where the tokenizer has not been fetched."""
ANSWER_TITLES = 2.0
"""Tokens written until the last row of a batch ends its line, in mean titles."""


def minutes(config: RunConfig, jobs: Sequence[tuple[str, int]], dataset: Dataset, samples: Samples) -> float:
    """Estimated minutes for these (method, seed) jobs on this machine."""
    found = measured(config, [method for method, _ in jobs], dataset, samples)
    return total(plan_stages(found, config, jobs, samples)) / 60


def measured(config: RunConfig, methods: Iterable[str], dataset: Dataset, samples: Samples) -> Measured:
    """What these methods' work takes here; whatever was timed before in this process is not timed again.

    Raises:
        ModelError: the language model's settings cannot be read.
        InputError: the device cannot compute in the precision asked for.
    """
    methods = sorted(set(methods))
    items = len(dataset.catalogue)
    kinds = {method for method in methods if method in ENCODER_METHODS}
    kinds |= {config.encoder.kind for method in methods if "adapter" in CONFIG_PARTS[method]}
    language = _Language(config, methods, dataset, samples) if set(methods) & set(LLM_METHODS) else None
    width = int(model_settings(config.model)["hidden_size"]) if "morec" in kinds else 0
    encoder = replace(config.encoder, kind="sasrec", tune=False, epochs=1, steps=0, patience=1)
    found = Measured(
        items=items,
        step={kind: step_seconds(kind, items, width, encoder) for kind in sorted(kinds)},
    )
    return found if language is None else language.added_to(found)


# --- the language model ------------------------------------------------------------------------------------


class _Language:
    """Times the language model's part of some methods."""

    def __init__(self, config: RunConfig, methods: Sequence[str], dataset: Dataset, samples: Samples) -> None:
        self.methods, self.adapter = methods, config.adapter
        self.model = settle_precision(config.model)
        self.rows = row_lengths(config, dataset, samples)
        adapted = [settle(config, method) for method in methods if "adapter" in CONFIG_PARTS[method]]
        self.trainings = {one.training.objective: one.training for one in adapted}
        self.protocol = config.answering.protocol

    def added_to(self, found: Measured) -> Measured:
        """The same with what the language model takes."""
        train: dict[str, float] = {}
        rank: dict[str, float] = {}
        answer: dict[str, float] = {}
        title = vector = 0.0
        load, depth = load_and_depth(self.model)
        if "morec" in self.methods:
            vector = max(1, round(DEPTH * depth)) * title_seconds(self.model, self.rows)
        if "zero-shot" in self.methods:
            read = words_seconds(self.model, None, self.rows, None)
            rank["zero-shot"], answer["zero-shot"] = read.rank, read.answer
        for objective, training in self.trainings.items():
            at_once = training.micro_batch_size if torch.cuda.is_available() else 1
            settings = TrainingConfig(  # nothing else of it decides the time of a sample
                batch_size=at_once,
                micro_batch_size=at_once,
                candidates=training.candidates,
                checkpointing=training.checkpointing,
            )
            if objective == "listwise":
                layers = min(depth, self.adapter.layers or depth)
                title = (depth - layers) * title_seconds(self.model, self.rows)
                one = listwise_seconds(self.model, self.adapter, self.rows, settings)
            else:
                one = words_seconds(self.model, self.adapter, self.rows, settings)
            train[objective], rank[objective], answer[objective] = one.train, one.rank, one.answer
        release_memory()
        return replace(found, load=load, title=title, vector=vector, train=train, rank=rank, answer=answer)


@dataclass(frozen=True)
class Times:
    """Seconds a sample, a case, an answer."""

    train: float = 0.0
    rank: float = 0.0
    answer: float = 0.0


def _layers(model: ModelConfig, rows: int = 1) -> FrozenLayers:
    return FrozenLayers(model_settings(model), model, rows)


@cache
def load_and_depth(model: ModelConfig) -> tuple[float, int]:
    """Seconds to load a model, and its number of layers."""
    settings = model_settings(model)
    depth = int(settings["num_hidden_layers"])
    words = int(settings.get("vocab_size", 0)) * int(settings["hidden_size"])
    embeddings = words * (1 if settings.get("tie_word_embeddings") else 2)
    weights = embeddings + depth * (layer_weights(settings) if "intermediate_size" in settings else 0)
    return load_seconds(weights), depth


@cache
def title_seconds(model: ModelConfig, rows: Rows) -> float:
    """Seconds to read a title in one layer without an adapter."""
    packed = rows.listwise(rows.candidates)
    return _layers(model).reading(packed) * rows.title / packed.tokens.shape[1]


@cache
def listwise_seconds(
    model: ModelConfig, adapter: AdapterConfig, rows: Rows, training: TrainingConfig
) -> Times:
    """A listwise sample and a ranked case, in the adapted layers."""
    layers = _layers(model, training.micro_batch_size)
    layers.adapt(adapter)
    depth = min(layers.depth, adapter.layers or layers.depth)
    asked = rows.listwise(rows.candidates, layers.rows)
    given = rows.listwise(training.candidates, layers.rows)
    rank = layers.ranking(asked, depth)
    train = layers.training(given, depth)
    if training.checkpointing:
        train += rank * given.tokens.shape[1] / asked.tokens.shape[1]
    return Times(train, rank)


@cache
def words_seconds(
    model: ModelConfig, adapter: AdapterConfig | None, rows: Rows, training: TrainingConfig | None
) -> Times:
    """A sample, a ranked case and an answer of the paper's prompt; without an adapter nothing trains."""
    layers = _layers(model, training.micro_batch_size if training else 1)
    told = round(rows.title)
    asked, given = rows.answers(rows.candidates, layers.rows), rows.answers(1, layers.rows)
    plain = layers.reading(asked)
    answering = layers.predicting(rows.candidates * told)
    share = given.tokens.shape[1] / asked.tokens.shape[1]
    writing = layers.depth * (share * plain + ANSWER_TITLES * rows.title * layers.writing())
    if adapter is None or training is None:
        return Times(0.0, layers.depth * plain + answering, writing)
    adapted = min(layers.depth, adapter.layers or layers.depth)
    below = layers.depth - adapted
    layers.adapt(adapter)
    with_adapter = layers.reading(asked)
    train = below * share * plain + adapted * layers.training_whole(given) + 3 * layers.predicting(told)
    if training.checkpointing:
        train += adapted * share * with_adapter
    return Times(train, below * plain + adapted * with_adapter + answering, writing)


# --- rows --------------------------------------------------------------------------------------------------


def row_lengths(config: RunConfig, dataset: Dataset, samples: Samples) -> Rows:
    """How long the rows of this dataset's cases are for this model's tokenizer."""
    prompts = load_card(dataset.name).prompts
    cases = [case for of_set in samples.test.values() for case in of_set] or list(samples.validation)
    shown = [item for case in cases for item in (*case.history, *case.candidates)]
    names = list(dict.fromkeys(shown)) or list(range(min(100, len(dataset.catalogue))))
    count = _counter(config.model)
    spoken = [f" {one_line(dataset.catalogue.titles[item])}" for item in names]
    lengths = dict(zip(names, count(spoken), strict=True))
    text, words = count([f"{prompts.history}\n{prompts.ask}\n", prompts.answer_templates[0]])
    return Rows(
        title=round(1 + min(MAX_TITLE_TOKENS, spread([lengths[item] for item in shown or names])), 2),
        text=text,
        words=words,
        history=max(1, round(spread([len(case.history) for case in cases]))),
        candidates=max(2, round(spread([len(case.candidates) for case in cases]))),
        trained=config.training.candidates,
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
def step_seconds(kind: str, items: int, title_width: int, config: EncoderConfig) -> float:
    """Seconds for an optimizer step of an encoder on a catalogue of this size."""
    model: Encoder = (
        MoRec(torch.randn(items, title_width), config)
        if kind == "morec"
        else new_encoder(kind, items, replace(config, kind=kind))
    )
    rng = np.random.default_rng(0)
    sequences = [rng.integers(items, size=60) for _ in range(-(-config.batch_size // 6))]
    job = EncoderJob(model, sequences, (), 0)
    optimizer = make_optimizer([{**group, "lr": 1e-3} for group in job.parameter_groups()])

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with job.loss(list(range(config.batch_size)), 0) as (loss, count):
            (loss / max(1, count)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return best(step)
