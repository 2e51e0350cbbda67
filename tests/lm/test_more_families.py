"""Models of many more families: each is read as it reads itself and learns, or is refused for what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from core.config.settings import ModelConfig
from core.errors import ModelError
from core.ilora.folding import save_updates
from core.ilora.layers import ADAPTER
from core.ilora.model import AdaptedModel
from core.lm.checking import check_kind, find_reading
from core.lm.decoder import decoder_view
from core.lm.likelihood import AnswerRanker
from core.lm.loading import LanguageModel
from core.lm.prompts import AnswerPrompt
from tests import families, tiny
from tests.lm.test_families import CANDIDATES, CLOSE, HISTORY, TEMPLATE, plain, prompts


def model_of(family: str) -> LanguageModel:
    llm = tiny.as_language_model(families.make(families.MORE[family]()))
    return replace(llm, reading=find_reading(llm))


def adapted(llm: LanguageModel) -> AdaptedModel:
    config = tiny.config(objective="language-model")
    return AdaptedModel(llm, tiny.encoder(), tiny.TITLES, prompts(), config, gated=True, seed=0)


@pytest.mark.parametrize("family", families.MORE)
def test_another_family_is_read_as_it_reads_itself_and_all_that_is_adapted_learns(family: str) -> None:
    llm = model_of(family)
    prompt = AnswerPrompt(llm.tokenizer, tiny.TITLES, TEMPLATE)
    packed = llm.reading.packed
    with torch.no_grad():
        expected = plain(llm, prompt)
        for cut in range(llm.depth):
            lower = decoder_view(llm.decoder, 0, cut, norm=False, packed=packed) if cut else None
            upper = decoder_view(llm.decoder, cut, llm.depth, norm=True, packed=packed)
            found = AnswerRanker(llm, prompt, lower, upper, None)([HISTORY], [CANDIDATES])[0]
            torch.testing.assert_close(found, expected, **CLOSE)
    model = adapted(llm)
    with model.loss([HISTORY], [CANDIDATES], [2]) as loss:
        loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters().values())


@pytest.mark.parametrize("family", families.MORE_REFUSED)
def test_another_family_is_refused_from_its_settings_for_what_it_is(
    family: str, tmp_path: Path, own_home: Path
) -> None:
    config, says = families.MORE_REFUSED[family]
    config().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=says) as caught:
        check_kind(tmp_path, ModelConfig(name="odd/model", quantize="none"))
    assert "\n" not in caught.value.title and caught.value.hint


@pytest.mark.parametrize("family", families.UNREAD)
def test_what_only_the_comparison_finds_is_one_line(family: str) -> None:
    config, says = families.UNREAD[family]
    with pytest.raises(ModelError, match=says) as caught:
        find_reading(tiny.as_language_model(families.make(config())))
    assert "\n" not in caught.value.title and caught.value.hint


def test_only_the_layers_that_read_text_are_adapted_and_peft_opens_what_is_exported(
    tmp_path: Path, own_home: Path
) -> None:
    """In a model that also reads pictures, by layers of the same names."""
    model = adapted(model_of("gemma3-pictures"))
    assert not [name for name in model.state() if "vision" in name]
    tiny.randomize(model.peft)
    model.train(False)
    save_updates(tmp_path, model.folded(HISTORY), model.peft.peft_config[ADAPTER], "base")
    again = PeftModel.from_pretrained(families.make(families.MORE["gemma3-pictures"]()), tmp_path).eval()
    ids = torch.arange(2, 30)[None]
    with torch.no_grad(), model._gated([HISTORY]):
        own: torch.Tensor = model.llm.model(input_ids=ids).logits
        torch.testing.assert_close(again(input_ids=ids).logits, own, **CLOSE)
