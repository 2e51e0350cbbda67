"""Tokenizers of every make: titles are told apart and ranked, or one line says what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from core.config.settings import ModelConfig
from core.errors import ModelError
from core.ilora.model import AdaptedModel
from core.lm.checking import load_checked
from core.lm.prompts import encode
from tests import tiny
from tests.lm.test_families import prompts

pytestmark = pytest.mark.usefixtures("own_home")
HISTORY, CANDIDATES = [1, 2, 3, 5, 6], [10, 11, 12, 5, 6, 7]
ODD = {5: "映画 é", 6: "a  b\tc", 7: "</s> <s>", 10: "x" * 500}
TITLES = [ODD.get(place, title) for place, title in enumerate(tiny.TITLES)]
LINES = [f"{title}\n" for title in tiny.TITLES]


def own(change: Callable[[Tokenizer], object] = lambda made: None, **said: Any) -> PreTrainedTokenizerFast:
    """The tiny model's byte-level tokenizer, changed."""
    made = Tokenizer.from_str(tiny.tokenizer().backend_tokenizer.to_str())
    change(made)
    return PreTrainedTokenizerFast(tokenizer_object=made, **{"bos_token": "<s>", "eos_token": "</s>", **said})


def trained(model: Any, trainer: Any, lines: list[str] = LINES, **parts: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of another kind, with a vocabulary that the tiny model has room for."""
    made = Tokenizer(model)
    for name, part in parts.items():
        setattr(made, name, part)
    made.train_from_iterator(lines, trainer)
    unknown = "<unk>" if made.token_to_id("<unk>") is not None else None
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token=unknown)


def setting(name: str, value: Any) -> Callable[[Tokenizer], None]:
    return lambda made: setattr(made, name, value)


def framed(text: str) -> Callable[[Tokenizer], None]:
    marks = [("<s>", 0), ("</s>", 1)]
    return setting("post_processor", processors.TemplateProcessing(single=text, special_tokens=marks))


def with_tokens(*tokens: str | AddedToken) -> PreTrainedTokenizerFast:
    made = own()
    made.add_tokens(list(tokens))
    return made


def byte_fallback() -> PreTrainedTokenizerFast:
    """As Llama 2's and Mistral's are built."""
    words = [*(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "<unk>"]
    made = Tokenizer(
        models.BPE(
            {word: place for place, word in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True
        )
    )
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


def limited(made: Tokenizer) -> None:
    made.enable_truncation(4)
    made.enable_padding(length=30)


UNKNOWN = ["<unk>"]
PADS = [f"zz{number}" for number in range(200)]
"""Tokens that no title has, as many as the tiny model has no embeddings for."""
WORK: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "unigram": lambda: trained(
        models.Unigram(),
        trainers.UnigramTrainer(
            vocab_size=300, special_tokens=UNKNOWN, unk_token="<unk>", show_progress=False
        ),
        pre_tokenizer=pre_tokenizers.Metaspace(), decoder=decoders.Metaspace(),
    ),
    "letters without an unknown one": lambda: trained(
        models.BPE(), trainers.BpeTrainer(vocab_size=300, show_progress=False), decoder=decoders.Fuse()
    ),
    "letters with an unknown one": lambda: trained(
        models.BPE(unk_token="<unk>"),
        trainers.BpeTrainer(vocab_size=300, special_tokens=UNKNOWN, show_progress=False),
        decoder=decoders.Fuse(),
    ),
    "bytes for unknown letters": byte_fallback,
    "words": lambda: trained(
        models.WordLevel(unk_token="<unk>"),
        trainers.WordLevelTrainer(special_tokens=UNKNOWN, show_progress=False),
        [*tiny.TITLES, "\n"], pre_tokenizer=pre_tokenizers.Split(" ", "removed"),
    ),
    "a start": lambda: own(framed("<s> $A")),
    "an end": lambda: own(framed("$A </s>")),
    "a start and an end": lambda: own(framed("<s> $A </s>")),
    "small letters": lambda: own(setting("normalizer", normalizers.Lowercase())),
    "compatible letters": lambda: own(setting("normalizer", normalizers.NFKC())),
    "single digits": lambda: own(
        setting("pre_tokenizer", pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)]
        ))
    ),
    "cut and padded": lambda: own(limited),
    "a length of four": lambda: own(model_max_length=4),
    "padding on the left": lambda: own(padding_side="left", truncation_side="left"),
    "a template that fails": lambda: own(chat_template="{{ 1/0 }}"),
    "marks that nobody has": lambda: own(bos_token="nope", eos_token="never"),
    "a title as a token": lambda: with_tokens(tiny.TITLES[3]),
    "two line ends as a token": lambda: with_tokens("\n\n"),
    "a token that takes spaces along": lambda: with_tokens(AddedToken("a", lstrip=True, rstrip=True)),
    "more tokens than the model, unused": lambda: with_tokens(*PADS),
}  # fmt: skip


def folder_with(tokenizer: PreTrainedTokenizerFast, folder: Path) -> ModelConfig:
    """The tiny model with another tokenizer."""
    tiny.save_model(folder)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    tokenizer.save_pretrained(folder)
    return ModelConfig(name=str(folder), quantize="none", precision="float32")


@pytest.mark.parametrize("kind", WORK)
def test_titles_are_told_apart_whatever_cuts_them(kind: str, tmp_path: Path) -> None:
    llm = load_checked(folder_with(WORK[kind](), tmp_path / "m"))
    for objective in ("listwise", "language-model"):
        config = tiny.config(objective=objective)
        model = AdaptedModel(llm, tiny.encoder(), TITLES, prompts(), config, gated=True, seed=0)
        with model.loss([HISTORY], [CANDIDATES], [2]) as loss:
            loss.backward()
        model.train(False)
        with torch.no_grad():
            (scores,) = model.scores([HISTORY], [CANDIDATES]).tolist()
        told_apart = {tuple(encode(llm.tokenizer, f"{TITLES[item]}\n")) for item in CANDIDATES}
        assert all(map(torch.isfinite, torch.tensor(scores))) and len(set(scores)) >= len(told_apart)
        assert len(told_apart) == (4 if kind == "words" else len(CANDIDATES))  # unknown words are one
        llm = load_checked(ModelConfig(name=str(tmp_path / "m"), quantize="none", precision="float32"))


LOST: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "words without spaces": lambda: trained(
        models.WordLevel(unk_token="<unk>"),
        trainers.WordLevelTrainer(special_tokens=UNKNOWN, show_progress=False),
        pre_tokenizer=pre_tokenizers.Whitespace(),
    ),
    "stripped": lambda: own(setting("normalizer", normalizers.Strip())),
    "line ends as spaces": lambda: own(setting("normalizer", normalizers.Replace("\n", " "))),
    "nothing": lambda: PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE())),
}  # fmt: skip


@pytest.mark.parametrize("kind", LOST)
def test_a_tokenizer_that_loses_the_lines_end_is_one_line(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no token for a line's end"):
        load_checked(folder_with(LOST[kind](), tmp_path / "m"))


def test_a_token_that_the_model_does_not_have_is_one_line(tmp_path: Path) -> None:
    words = sorted({word for title in tiny.TITLES for word in title.split()})
    llm = load_checked(folder_with(with_tokens(*PADS, *words), tmp_path / "m"))
    with pytest.raises(ModelError, match=r"makes token \d+, and the model has 320 tokens") as caught:
        AdaptedModel(llm, tiny.encoder(), TITLES, prompts(), tiny.config(), gated=True, seed=0)
    assert caught.value.hint and "\n" not in caught.value.title


def test_a_text_has_the_same_tokens_each_time(tmp_path: Path) -> None:
    """Also where the tokenizer was kept as it was in its own training, which cuts at random."""

    def drop(made: Tokenizer) -> None:
        made.model.dropout = 0.5

    tokenizer = load_checked(folder_with(own(drop), tmp_path / "m")).tokenizer
    assert len({tuple(encode(tokenizer, " ".join(tiny.TITLES))) for _ in range(5)}) == 1
