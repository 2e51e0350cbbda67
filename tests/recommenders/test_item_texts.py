"""Whatever reads a language model is told of items what `item_text` says, and keeps it apart on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.benchmark import run
from core.benchmark.estimates import row_lengths
from core.benchmark.run import Plan, method_config, run_benchmark
from core.config.presets import with_overrides
from core.config.settings import RunConfig
from core.encoders.morec import MoRec
from core.errors import InputError
from core.methods import METHODS, method_names
from core.recommenders.adapter import Ilora
from core.recommenders.encoders import MoRecRecommender
from core.recommenders.zero_shot import ZeroShot
from tests import tiny

pytestmark = pytest.mark.usefixtures("tiny_home")
KINDS = ("title", "title+genres")


def settings(model: Path | str, kind: str, **training: object) -> RunConfig:
    return with_overrides(tiny.config(model, **training), model={"item_text": kind})


def test_listwise_segments_hold_the_text_and_their_states_are_kept_apart(
    tmp_path: Path, tiny_home: Path, tiny_model: Path
) -> None:
    prompts = []
    for kind in KINDS:
        task = tiny.task(settings(tiny_model, kind), tmp_path)
        model = Ilora().build(task, tiny.encoder())
        prompts.append(model.ranker.prompt)
        said = model.llm.tokenizer.decode(prompts[-1].ids[prompts[-1].item(3).tokens])
        assert said == f"{task.texts[3]}\n"
    assert prompts[1].length([3], ()) > prompts[0].length([3], ())
    assert len(list((tiny_home / "states").iterdir())) == 2


def test_answers_are_the_texts_with_and_without_an_adapter(tmp_path: Path, tiny_model: Path) -> None:
    task = tiny.task(settings(tiny_model, "title+genres", objective="language-model"), tmp_path)
    zero_shot = ZeroShot()
    zero_shot.fit(task)
    for prompt in (Ilora().build(task, tiny.encoder()).ranker.prompt, zero_shot.ranker.prompt):
        assert prompt.title(0) == "Amber Fox, Animals"


def test_morec_reads_the_texts(tmp_path: Path, tiny_model: Path) -> None:
    vectors = []
    for kind in KINDS:
        recipe = MoRecRecommender().recipe(tiny.task(settings(tiny_model, kind), tmp_path))
        model = recipe.build(tiny.config().encoder)
        assert isinstance(model, MoRec)
        vectors.append(model.titles)
    assert not torch.equal(*vectors)


def test_longer_texts_are_expected_to_take_longer(tiny_model: Path) -> None:
    configs = [settings(tiny_model, kind) for kind in KINDS]
    lengths = [row_lengths(config, *tiny.load(config)) for config in configs]
    assert lengths[1].title > lengths[0].title


def test_it_decides_the_result_of_whatever_reads_a_language_model_and_of_nothing_else() -> None:
    plain, rich = (settings("m", kind) for kind in KINDS)
    differ = method_names(
        lambda record: method_config(plain, record.name) != method_config(rich, record.name)
    )
    assert differ == tuple(name for name, record in METHODS.items() if record.needs_llm)
    assert "item_text" not in method_config(plain, "ilora")["model"]  # older results keep their checksum


def test_what_the_catalogue_does_not_have_is_refused_before_anything_runs(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_run", lambda *_: pytest.fail("a method was run"))
    asked = Plan(settings(tiny_model, "title+year"), ("popularity", "lora"), (0,), tmp_path)
    with pytest.raises(InputError, match="no item of this dataset has a year"):
        run_benchmark(asked)
