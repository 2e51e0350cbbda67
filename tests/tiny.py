"""Small stand-ins made in memory: a random Llama, its tokenizer, and a dataset of invented films."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.assets import spec
from core.config.choices import GATES
from core.config.settings import (
    AdapterConfig,
    DataConfig,
    EncoderConfig,
    ModelConfig,
    RunConfig,
    TrainingConfig,
)
from core.data.loading import load_task_data
from core.data.types import Dataset, Samples
from core.encoders.base import Encoder, new_encoder
from core.lm.loading import LanguageModel, disable_cpu_packing
from core.recommenders.base import Task

GATES_ALONE = tuple(kind for kind in GATES if kind != "dataset")
"""Gates that need no more than one dataset."""
LAYERS, WIDTH = 4, 64
USERS, ITEMS = 30, 40

torch.set_num_threads(1)  # small matrices gain nothing from threads, and others share the machine

COLOURS = ("Amber", "Blue", "Copper", "Dusty", "Emerald")
ANIMALS = ("Fox", "Owl", "Pike", "Raven", "Seal", "Tiger", "Urchin", "Vole")
TITLES = tuple(f"{colour} {animal}" for animal in ANIMALS for colour in COLOURS)


# --- a language model ------------------------------------------------------------------------------------


@cache
def tokenizer() -> Any:
    """Byte-level BPE over the titles' words: any text has tokens, a line's end is one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<s>", "</s>"], initial_alphabet=sorted(alphabet), show_progress=False
    )
    made.train_from_iterator(sorted(TITLES), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def llama(layers: int = LAYERS, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """A random Llama, large enough in its weights that every part of it shows in the output."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(std=0.15)
    return model.to(dtype).eval()


def as_language_model(model: Any, quantization: str = "none") -> LanguageModel:
    """The product's view of a model made here: frozen, in evaluation mode."""
    disable_cpu_packing(model)
    model.requires_grad_(False)
    parameter = next(p for p in model.parameters() if p.is_floating_point())
    return LanguageModel(
        model.eval(), tokenizer(), "tiny-llama", quantization, parameter.device, parameter.dtype
    )


def language_model(layers: int = LAYERS, dtype: torch.dtype = torch.float32, seed: int = 0) -> LanguageModel:
    """A random language model in memory."""
    return as_language_model(llama(layers, dtype, seed))


def save_model(folder: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    """A model folder as `--model` takes it."""
    llama(dtype=dtype).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def nf4(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The model of `save_model` in NF4, computing in `dtype` on the CPU."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, quantization_config=settings, device_map={"": "cpu"}
    )
    return model.requires_grad_(False).eval()


def randomize(module: nn.Module, seed: int = 0, std: float = 0.2) -> None:
    """Gives everything that is trained a random value, so that no part is zero and hides a fault."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


# --- a dataset -------------------------------------------------------------------------------------------


def ratings() -> bytes:
    """Each user watches films in the catalogue's order from somewhere on: easy to learn, nobody's taste."""
    draw = random.Random(3)
    lines = []
    for user in range(1, USERS + 1):
        first = draw.randrange(ITEMS)
        for place in range(draw.randint(8, 16)):
            lines.append(f"{user}\t{(first + place) % ITEMS + 1}\t{draw.choice((3, 4, 5))}\t{1000 + place}\n")
    return "".join(lines).encode()


def films() -> bytes:
    return "".join(f"{item}|{title}|Animals\n" for item, title in enumerate(TITLES, 1)).encode()


def card(max_history: int = 10) -> str:
    """The card of the two files above."""
    files = "".join(
        f'[[sources.files]]\nname = "{name}"\naddress = "http://127.0.0.1:9/{name}"\n'
        f'sha256 = "{hashlib.sha256(content).hexdigest()}"\nsize = {len(content)}\n'
        for name, content in (("ratings.tsv", ratings()), ("films.txt", films()))
    )
    count = ratings().count(b"\n")
    return f"""
name = "tiny"
title = "Tiny"
description = "Nothing real."
homepage = "https://example.org"
citation = "None."
noun = "film"

[licence]
name = "CC0"
url = "https://example.org/licence"
redistribution = "Anything goes."

[[sources]]
name = "local"
kind = "url"

{files}
[sources.interactions]
file = "ratings.tsv"
user = 0
item = 1
rating = 2
timestamp = 3

[sources.items]
file = "films.txt"
separator = "|"
id = 0
title = 1
tags = 2

[rules]
min_rating = 3
max_history = {max_history}

[expected]
users = {USERS}
items = {ITEMS}
interactions = {count}
kept = {count}

[prompts]
history = "Seen:"
item = "{{title}}"
ask = "Next:"
language_model = "Seen {{history}}. Of {{candidates}} the next is:"

[split]
test_users = ["3", "9", "15", "21"]
validation_users = ["4", "10", "16"]

[[reported]]
method = "Best"
hit_ratio_at_1 = 0.5
source = "nowhere"
"""


def install(home: Path, mirror: Path, max_history: int = 10, name: str = "tiny") -> dict[str, str]:
    """Puts the card into the product's home and the files into a mirror; the environment that finds them."""
    (home / "cards").mkdir(parents=True, exist_ok=True)
    text = card(max_history).replace('name = "tiny"', f'name = "{name}"')
    (home / "cards" / f"{name}.toml").write_text(text, encoding="utf-8")
    (mirror / name).mkdir(parents=True, exist_ok=True)
    (mirror / name / "ratings.tsv").write_bytes(ratings())
    (mirror / name / "films.txt").write_bytes(films())
    return {spec.HOME_VARIABLE: str(home), spec.MIRROR_VARIABLE: str(mirror)}


def config(model: str | Path = "tiny-llama", **training: Any) -> RunConfig:
    """Settings under which everything takes seconds; `training` replaces fields of that part."""
    values = {
        "samples": 24,
        "batch_size": 4,
        "micro_batch_size": 2,
        "validations": 2,
        "validation_cases": 6,
        "learning_rate": 3e-3,
        "encoder_prior": training.get("objective", "listwise") == "listwise",
    }
    return RunConfig(
        data=DataConfig(dataset="tiny", spread_positions=2, validation_positions=2),
        model=ModelConfig(name=str(model), quantize="none"),
        encoder=EncoderConfig(width=16, layers=1, heads=2, epochs=2, batch_size=32),
        adapter=AdapterConfig(rank=4, alpha=8.0, layers=2, experts=4),
        training=TrainingConfig(**{**values, **training}),
    )


def load(settings: RunConfig) -> tuple[Dataset, Samples]:
    """The dataset of a config and its cases; the environment must be that of `install`."""
    return load_task_data(settings.data)


def task(settings: RunConfig, folder: Path, seed: int = 0, **more: Any) -> Task:
    """What a method is given."""
    return Task(*load(settings), settings, seed, folder, **more)


def trained_run(
    place: Path, method: str = "sasrec", model: str | Path = "no-model"
) -> tuple[Path, dict[str, str]]:
    """A run on disk, and the environment that finds its data; for fixtures of a whole module."""
    from core.recommenders.registry import method_class
    from core.runs.store import run_folder, save_run
    from tests import made_up

    environment = install(place / "home", place / "mirror")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        recommender = method_class(method)()
        asked = task(config(model), place / "work")
        recommender.fit(asked)
        path = run_folder(place / "runs", "tiny", "paper", method, 0, "a" * 64)
        path.parent.mkdir(parents=True)
        save_run(recommender, asked, path, made_up.result(method))
    return path, environment


def encoder(seed: int = 0, items: int = ITEMS, width: int = 16, kind: str = "sasrec") -> Encoder:
    """A frozen encoder that was never trained, its weights large enough to matter."""
    torch.manual_seed(seed)
    made = new_encoder(kind, items, EncoderConfig(kind=kind, width=width, layers=1, heads=2), 10)
    with torch.no_grad():
        made.items.weight[1:].normal_(std=0.5)
    return made.freeze()


def histories(count: int, seed: int = 0, longest: int = 6) -> list[list[int]]:
    """Item sequences of different lengths."""
    draw = random.Random(seed)
    return [[draw.randrange(ITEMS) for _ in range(2 + place % (longest - 1))] for place in range(count)]


def candidates(count: int, size: int = 20, seed: int = 1) -> list[list[int]]:
    """Different items in each row."""
    draw = random.Random(seed)
    return [draw.sample(range(ITEMS), size) for _ in range(count)]


def rows(values: Sequence[Sequence[int]], order: Sequence[int]) -> list[list[int]]:
    """Each row in another order."""
    return [[row[place] for place in order] for row in values]
