"""Every family of models is read as it reads itself, adapted, kept and exported, or refused at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel

from core.config.settings import ModelConfig
from core.data.card_files import parse_card
from core.data.cards import Prompts
from core.errors import ModelError
from core.ilora.folding import save_updates
from core.ilora.layers import ADAPTER
from core.ilora.model import AdaptedModel
from core.lm import checking, loading
from core.lm.checking import check_kind, find_reading, load_checked, try_model
from core.lm.decoder import decoder_view
from core.lm.likelihood import AnswerRanker
from core.lm.loading import LanguageModel
from core.lm.prompts import AnswerPrompt
from tests import families, tiny

TEMPLATE = "Seen {history}. Of {candidates} the next is:"
HISTORY, CANDIDATES = [1, 2, 3, 4, 5], list(range(10, 16))
CLOSE = {"rtol": 1e-3, "atol": 1e-3}
CPU_MODEL = {"quantize": "none", "precision": "float32"}


def prompts() -> Prompts:
    """The made-up dataset's."""
    return parse_card(tiny.card(), "tiny.toml").prompts


def model_of(family: str) -> LanguageModel:
    llm = tiny.as_language_model(families.make(families.WORK[family]()))
    return replace(llm, reading=find_reading(llm))


@torch.no_grad()
def plain(llm: LanguageModel, prompt: AnswerPrompt) -> torch.Tensor:
    """(C,) log-likelihoods by the model's own forward, one candidate at a time."""
    before = [token for piece in prompt.prefix(HISTORY, CANDIDATES) for token in piece.tokens.tolist()]
    found = []
    for item in CANDIDATES:
        own = prompt.answer(item).tokens.tolist()
        logits = llm.model(input_ids=torch.tensor([before + own])).logits[0].float().log_softmax(-1)
        found.append(sum(logits[len(before) - 1 + at, token] for at, token in enumerate(own)))
    return torch.stack(found)


@pytest.mark.parametrize("family", families.WORK)
@torch.no_grad()
def test_candidates_together_have_the_likelihoods_of_each_alone_wherever_the_layers_are_split(
    family: str,
) -> None:
    """Also where the prompt is longer than a sliding window."""
    llm = model_of(family)
    prompt = AnswerPrompt(llm.tokenizer, tiny.TITLES, TEMPLATE)
    expected = plain(llm, prompt)
    packed = llm.reading.packed
    for cut in range(llm.depth):
        lower = decoder_view(llm.decoder, 0, cut, norm=False, packed=packed) if cut else None
        upper = decoder_view(llm.decoder, cut, llm.depth, norm=True, packed=packed)
        found = AnswerRanker(llm, prompt, lower, upper, None)([HISTORY], [CANDIDATES])[0]
        torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("family", families.WORK)
def test_a_model_is_read_together_unless_its_attention_takes_no_mask_and_split_unless_places_are_added(
    family: str,
) -> None:
    reading = model_of(family).reading
    assert reading.packed == (family not in ("bloom", "falcon-alibi"))
    assert reading.split == (family not in ("gpt2", "opt"))


def adapted(family: str, objective: str, checkpointing: bool = False) -> AdaptedModel:
    config = tiny.config(objective=objective, checkpointing=checkpointing)
    return AdaptedModel(model_of(family), tiny.encoder(), tiny.TITLES, prompts(), config, gated=True, seed=0)


@pytest.mark.parametrize("objective", ["listwise", "language-model"])
@pytest.mark.parametrize("family", families.WORK)
def test_a_model_learns_ranks_and_comes_back_as_it_was_kept(
    family: str, objective: str, tmp_path: Path, own_home: Path
) -> None:
    model = adapted(family, objective)
    histories, candidates = [HISTORY, HISTORY[:3]], [CANDIDATES, CANDIDATES[::-1]]
    optimizer = torch.optim.AdamW(list(model.parameters().values()), lr=1e-2)
    model.train()
    losses = []
    for _ in range(2):
        with model.loss(histories, candidates, [2, 3]) as loss:
            loss.backward()
        assert all(p.grad is not None for p in model.parameters().values()), "something does not learn"
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    model.train(False)
    model.round()
    with torch.no_grad():
        scores = model.scores(histories, candidates)
    assert torch.isfinite(scores).all()
    assert len(set(scores[0].tolist())) == len(CANDIDATES)
    model.save(tmp_path)
    again = adapted(family, objective)
    again.load(tmp_path)
    again.train(False)
    with torch.no_grad():
        torch.testing.assert_close(again.scores(histories, candidates), scores)


@pytest.mark.parametrize("family", families.WORK)
@torch.no_grad()
def test_an_exported_adapter_gives_peft_the_model_that_the_gate_made(
    family: str, tmp_path: Path, own_home: Path
) -> None:
    model = adapted(family, "language-model")
    tiny.randomize(model.peft)
    model.train(False)
    updates = model.folded(HISTORY)
    save_updates(tmp_path, updates, model.peft.peft_config[ADAPTER], "base")
    plain_model = PeftModel.from_pretrained(families.make(families.WORK[family]()), tmp_path).eval()
    ids = torch.arange(2, 30)[None]
    with model._gated([HISTORY]):
        own: Any = model.llm.model(input_ids=ids).logits
    torch.testing.assert_close(plain_model(input_ids=ids).logits, own, **CLOSE)
    base = families.make(families.WORK[family]())(input_ids=ids).logits
    assert not torch.allclose(base, own, **CLOSE)


@pytest.mark.parametrize("family", families.REFUSED)
def test_what_cannot_be_adapted_is_refused_from_its_settings_before_its_weights_are_read(
    family: str, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, says = families.REFUSED[family]
    families.save(tmp_path / "m", config())
    monkeypatch.setattr(loading, "_load", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(ModelError, match=says) as caught:
        try_model(ModelConfig(name=str(tmp_path / "m"), **CPU_MODEL))
    assert "\n" not in caught.value.title
    assert caught.value.hint


def test_a_fault_in_the_split_alone_makes_the_model_run_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = tiny.as_language_model(families.make(families.WORK["granite"]()))

    def twice(view: Any, hidden: torch.Tensor, packed: Any) -> torch.Tensor:
        start = vars(view)["span"].start
        return run(view, hidden * (12.0 if start else 1.0), packed)

    run = checking.run_decoder
    monkeypatch.setattr(checking, "run_decoder", twice)
    assert not find_reading(llm).split
    assert find_reading(llm).packed


def test_a_model_that_is_never_read_rightly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = tiny.as_language_model(families.make(families.WORK["cohere"]()))
    unscaled = llm.model.get_output_embeddings()
    monkeypatch.setattr(LanguageModel, "logits", lambda self, states: unscaled(states))
    with pytest.raises(ModelError, match="is not read rightly"):
        find_reading(llm)


def test_the_answer_is_kept_and_asked_anew_when_the_weights_change(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = families.save(tmp_path / "m", families.WORK["gpt2"]())
    config = ModelConfig(name=str(folder), **CPU_MODEL)
    try_model(config)
    monkeypatch.setattr(checking, "find_reading", lambda _: pytest.fail("it was compared"))
    assert not load_checked(config).reading.split
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes())
    with pytest.raises(pytest.fail.Exception, match="compared"):
        load_checked(config)


@pytest.mark.parametrize("family", ["gpt2", "phi3", "gemma3"])
def test_fused_and_transposed_layers_learn_in_4_bit(family: str, tmp_path: Path, own_home: Path) -> None:
    folder = families.save(tmp_path / "m", families.WORK[family]())
    llm = load_checked(ModelConfig(name=str(folder), quantize="nf4", precision="float32"))
    config = tiny.config(objective="language-model")
    model = AdaptedModel(llm, tiny.encoder(), tiny.TITLES, prompts(), config, gated=True, seed=0)
    with model.loss([HISTORY], [CANDIDATES], [2]) as loss:
        loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters().values())


def test_recomputed_layers_give_the_gradients_of_kept_ones(own_home: Path) -> None:
    """In a family that scales its embeddings, which a layer that runs again must not see."""
    found = []
    for checkpointing in (False, True):
        model = adapted("granite", "language-model", checkpointing)
        tiny.randomize(model.peft)
        model.train()
        with model.loss([HISTORY], [CANDIDATES], [2]) as loss:
            loss.backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters().values() if p.grad is not None]))
    torch.testing.assert_close(*found)
    assert np.isfinite(found[0].numpy()).all()


def test_settings_that_no_model_is_made_of_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "num_hidden_layers": 2}')
    with pytest.raises(ModelError) as caught:
        check_kind(tmp_path, ModelConfig(name=str(tmp_path), quantize="none"))
    assert "\n" not in caught.value.title
