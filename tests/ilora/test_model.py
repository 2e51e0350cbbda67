"""LoRA and iLoRA differ in the gate alone, learn in every part, and come back whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.config.choices import ENCODERS, GATE_INPUTS, GATE_SCOPES
from core.config.settings import GateConfig, RunConfig
from core.data.card_files import load_card
from core.errors import ModelError
from core.ilora import attaching
from core.ilora import layers as layers_module
from core.ilora.model import ADAPTER_FILE, REST_FILE, AdaptedModel
from core.lm.loading import LanguageModel
from tests import tiny

HISTORIES = tiny.histories(4)
CANDIDATES = tiny.candidates(4)
TARGETS = [3, 0, 19, 7]

pytestmark = pytest.mark.usefixtures("tiny_home")


def adapted(
    gated: bool = True,
    settings: RunConfig | None = None,
    seed: int = 0,
    llm: LanguageModel | None = None,
    encoder: str = "sasrec",
) -> AdaptedModel:
    """A fresh recommender around a random language model and a random encoder."""
    return AdaptedModel(
        llm or tiny.language_model(),
        tiny.encoder(kind=encoder),
        tiny.TITLES,
        load_card("tiny").prompts,
        settings or tiny.config(),
        gated,
        seed,
    )


def stirred(model: AdaptedModel, seed: int = 3) -> AdaptedModel:
    """With every trained weight random, as after a long training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.parameters().items()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


@torch.no_grad()
def scores(model: AdaptedModel) -> Tensor:
    model.train(False)
    return model.scores(HISTORIES, CANDIDATES)


def gradients(model: AdaptedModel) -> dict[str, Tensor]:
    """Of one training batch."""
    model.train()
    for parameter in model.parameters().values():
        parameter.grad = None
    with model.loss(HISTORIES, CANDIDATES, TARGETS) as loss:
        loss.backward()
    return {name: p.grad.clone() for name, p in model.parameters().items() if p.grad is not None}


# --- LoRA and iLoRA ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["listwise", "language-model"])
def test_lora_and_ilora_start_from_the_same_adapter_projector_and_head(objective: str) -> None:
    settings = tiny.config(objective=objective)
    lora, ilora = adapted(False, settings).state(), adapted(True, settings).state()
    assert set(ilora) - set(lora) == {"gate.linear.weight"}
    for name, tensor in lora.items():
        assert torch.equal(tensor, ilora[name]), name


def test_another_seed_starts_elsewhere_and_the_same_seed_at_the_same_place() -> None:
    first, again, other = adapted().state(), adapted().state(), adapted(seed=1).state()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["gate.linear.weight"], other["gate.linear.weight"])
    moved = [name for name in first if name.startswith("adapter.") and ".lora_A." in name]
    assert moved
    assert not any(torch.equal(first[name], other[name]) for name in moved)


@pytest.mark.parametrize("objective", ["listwise", "language-model"])
def test_an_ilora_with_a_gate_of_zeros_scores_and_learns_as_lora(objective: str) -> None:
    settings = tiny.config(objective=objective)
    lora, ilora = stirred(adapted(False, settings)), stirred(adapted(True, settings))
    ilora.load_state({**lora.state(), "gate.linear.weight": torch.zeros(4, 16)})
    torch.testing.assert_close(scores(ilora), scores(lora), rtol=1e-4, atol=1e-4)
    expected, found = gradients(lora), gradients(ilora)
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


def with_gate(**settings: Any) -> RunConfig:
    """The tiny settings with another gate."""
    return dataclasses.replace(tiny.config(), gate=GateConfig(**settings))


@pytest.mark.parametrize("scope", GATE_SCOPES)
def test_an_ilora_with_a_uniform_gate_is_lora_at_every_scope(scope: str) -> None:
    lora, ilora = stirred(adapted(False)), adapted(True, with_gate(kind="uniform", scope=scope))
    ilora.load_state(lora.state())
    torch.testing.assert_close(scores(ilora), scores(lora), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", tiny.GATES_ALONE)
def test_one_expert_is_lora_whatever_the_gate(kind: str) -> None:
    settings = dataclasses.replace(
        with_gate(kind=kind), adapter=dataclasses.replace(tiny.config().adapter, experts=1)
    )
    lora, ilora = stirred(adapted(False)), adapted(True, settings)
    own = {name: value for name, value in ilora.state().items() if name.startswith("gate.")}
    ilora.load_state({**lora.state(), **own})
    torch.testing.assert_close(scores(ilora), scores(lora), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("scope", "sites"), [("shared", 1), ("per-layer", 2), ("per-module", 14)])
def test_every_layer_or_module_reads_the_weights_of_its_own_site(scope: str, sites: int) -> None:
    model = stirred(adapted(True, with_gate(scope=scope)))
    assert model.weights is not None
    assert model.weights.sites == sites
    model.train(False)
    omega = torch.full((4, sites, 4), 0.25)
    answers = []
    for site in [None, 0, sites - 1]:
        changed = omega.clone()
        if site is not None:
            changed[:, site] = torch.tensor([1.0, 0.0, 0.0, 0.0])
        model.omega = lambda *_, given=changed: given  # type: ignore[method-assign]
        answers.append(scores(model))
    assert (answers[1] - answers[0]).abs().max() > 1e-4
    assert ((answers[2] - answers[1]).abs().max() > 1e-4) == (sites > 1)


def test_weights_by_layer_are_those_of_its_modules_on_average() -> None:
    model = stirred(adapted(True, with_gate(scope="per-module")))
    by_layer, mean = model.expert_weights_by_layer(HISTORIES), model.expert_weights(HISTORIES)
    assert by_layer is not None and by_layer.shape == (4, 2, 4)
    assert mean is not None
    np.testing.assert_allclose(by_layer.mean(1), mean, rtol=1e-5)
    assert adapted(True).expert_weights_by_layer(HISTORIES) is None


@pytest.mark.parametrize("kind", tiny.GATES_ALONE)
@pytest.mark.parametrize("source", GATE_INPUTS)
def test_every_gate_reads_every_input_learns_and_comes_back(kind: str, source: str, tmp_path: Path) -> None:
    settings = with_gate(kind=kind, input=source, scope="per-layer", balance=0.1, entropy=0.1)
    model = adapted(True, settings)
    learnt = {name for name in gradients(model) if name.startswith("gate.")}
    assert bool(learnt) == (kind not in ("uniform", "random-fixed"))
    stirred(model)
    expected = scores(model)
    model.save(tmp_path)
    other = adapted(True, settings, seed=5)
    other.load(tmp_path)
    torch.testing.assert_close(scores(other), expected)
    alone = other.scores(HISTORIES[:1], CANDIDATES[:1])
    torch.testing.assert_close(alone, expected[:1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("forgotten", ["gate.entry_norm.running_mean", "gate.entry_norm.num_batches_tracked"])
def test_a_gate_without_its_running_statistics_is_refused(forgotten: str, tmp_path: Path) -> None:
    model = adapted(True, with_gate(kind="resnet"))
    model.save(tmp_path)
    rest = load_file(tmp_path / REST_FILE)
    del rest[forgotten]
    save_file(rest, tmp_path / REST_FILE)
    with pytest.raises(ModelError, match=f"lacks {forgotten}"):
        model.load(tmp_path)


def test_the_gate_makes_an_adapter_of_its_own_for_each_user() -> None:
    model = stirred(adapted())
    with torch.no_grad():
        assert model.gate is not None
        model.gate.linear.weight.mul_(20)
    before = scores(model)
    omega = model.expert_weights(HISTORIES)
    assert omega is not None
    assert omega.shape == (4, 4)
    np.testing.assert_allclose(omega.sum(-1), 1, rtol=1e-5)
    with torch.no_grad():
        model.gate.linear.weight.copy_(model.gate.linear.weight.flip(0))
    assert (scores(model) - before).abs().max() > 1e-3
    assert adapted(False).expert_weights(HISTORIES) is None


def test_a_user_gets_their_own_gate_whatever_the_batch() -> None:
    model = stirred(adapted())
    together = scores(model)
    with torch.no_grad():
        for row in range(4):
            alone = model.scores([HISTORIES[row]], [CANDIDATES[row]])[0]
            torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-4)


def test_counts_say_what_the_gate_adds() -> None:
    lora, ilora = adapted(False), adapted(True)
    assert lora.count("gate") == 0
    assert ilora.count("gate") == 4 * 16  # K x d
    assert lora.count("adapter") == ilora.count("adapter")
    assert ilora.total_parameters() - lora.total_parameters() == 4 * 16
    base = sum(p.numel() for p in tiny.llama().parameters())
    own = sum(p.numel() for p in lora.parameters().values())
    assert lora.total_parameters() == base + own + sum(p.numel() for p in tiny.encoder().parameters())


# --- frozen means frozen -----------------------------------------------------------------------------------


def test_only_the_adapter_projector_head_and_gate_are_trained() -> None:
    model = adapted()
    trained = {id(p) for p in model.parameters().values()}
    for name, parameter in [*model.llm.model.named_parameters(), *model.encoder.named_parameters()]:
        assert parameter.requires_grad == (id(parameter) in trained), name
    kinds = {name.split(".", 1)[0] for name in model.parameters()}
    assert kinds == {"adapter", "ranker", "gate"}
    grouped = [p for group in model.parameter_groups() for p in group["params"]]
    assert {id(p) for p in grouped} == trained
    assert len(grouped) == len(trained)


def test_only_the_upper_layers_are_adapted() -> None:
    layers = {
        name.split(".layers.")[1].split(".")[0] for name in adapted().parameters() if ".layers." in name
    }
    assert layers == {"2", "3"}
    everywhere = dataclasses.replace(tiny.config().adapter, layers=0)
    deep = adapted(settings=dataclasses.replace(tiny.config(), adapter=everywhere))
    layers = {name.split(".layers.")[1].split(".")[0] for name in deep.parameters() if ".layers." in name}
    assert layers == {"0", "1", "2", "3"}


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_encoder_reads_without_dropout_while_the_adapter_trains(kind: str) -> None:
    model = stirred(adapted(encoder=kind))
    dropouts = [m for m in model.encoder.modules() if isinstance(m, nn.Dropout) and m.p > 0]
    assert dropouts
    model.train()
    assert not any(module.training for module in model.encoder.modules())
    model.encoder.train()  # whoever asks: frozen is frozen
    assert not any(module.training for module in model.encoder.modules())
    first = model.expert_weights(HISTORIES)
    np.testing.assert_array_equal(first, model.expert_weights(HISTORIES))
    weights = {name: p.clone() for name, p in model.encoder.state_dict().items()}
    gradients(model)
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(torch.equal(weights[name], p) for name, p in model.encoder.state_dict().items())


@pytest.mark.parametrize("objective", ["listwise", "language-model"])
def test_every_trained_weight_gets_a_gradient(objective: str) -> None:
    model = stirred(adapted(settings=tiny.config(objective=objective)))
    found = gradients(model)
    assert set(found) == set(model.parameters())
    still = [name for name, gradient in found.items() if not gradient.abs().sum() > 0]
    # A constant added to every candidate's score changes no probability.
    assert still in ([], ["ranker.head.bias"])


@pytest.mark.parametrize("objective", ["listwise", "language-model"])
def test_checkpointing_runs_layers_twice_and_changes_no_gradient(objective: str) -> None:
    settings = tiny.config(objective=objective)
    plain = stirred(adapted(settings=settings))
    again = stirred(adapted(settings=tiny.config(objective=objective, checkpointing=True)))
    runs: list[int] = []
    again.llm.decoder.layers[3].input_layernorm.register_forward_hook(lambda *_: runs.append(1))
    expected, found = gradients(plain), gradients(again)
    assert len(runs) == 2
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


# --- the trap in 4-bit layers ------------------------------------------------------------------------------


def lowest_gradient(model: AdaptedModel) -> Tensor | None:
    """Of A in the lowest adapted layer: what it learns has come through every layer above."""
    model.train()
    for parameter in model.parameters().values():
        parameter.grad = None
    with model.loss(HISTORIES, CANDIDATES, TARGETS) as loss:
        loss.backward()
    name = next(name for name in model.parameters() if ".layers.0." in name and "q_proj.lora_A" in name)
    return model.parameters()[name].grad


def four_bit(folder: Path) -> AdaptedModel:
    """All layers adapted, on NF4 with bf16 compute."""
    everywhere = dataclasses.replace(tiny.config().adapter, layers=0)
    settings = dataclasses.replace(tiny.config(encoder_prior=False), adapter=everywhere)
    llm = tiny.as_language_model(tiny.nf4(folder, torch.bfloat16), "nf4")
    return stirred(adapted(settings=settings, llm=llm))


def test_an_evaluation_between_two_steps_leaves_the_lowest_layer_learning(tiny_model: Path) -> None:
    model = four_bit(tiny_model)
    before = lowest_gradient(model)
    assert before is not None
    scores(model)  # in evaluation mode, without gradients: here the trap closes
    after = lowest_gradient(model)
    assert after is not None
    assert after.abs().sum() > 0
    torch.testing.assert_close(after, before)


def test_without_the_guard_this_machine_would_fall_into_the_trap(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shows that the guard does something here, and that the test above can fail."""
    monkeypatch.setattr(tiny, "disable_cpu_packing", lambda model: 0)
    monkeypatch.setattr(attaching, "disable_cpu_packing", lambda model: 0)
    monkeypatch.setattr(layers_module, "KEPT", 0)  # weights that are kept unpacked are not repacked
    model = four_bit(tiny_model)
    guards = [getattr(m, "support_avx512bf16_for_cpu", False) for m in model.llm.model.modules()]
    if not any(guards):
        pytest.skip("this CPU has no AVX512-BF16: bitsandbytes does not repack weights here")
    before = lowest_gradient(model)
    assert before is not None
    scores(model)
    try:
        after = lowest_gradient(model)
    except RuntimeError:
        return
    assert after is None or not torch.allclose(after, before)


# --- keeping -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["listwise", "language-model"])
@pytest.mark.parametrize("gated", [False, True], ids=["lora", "ilora"])
def test_a_saved_adapter_scores_as_before(tmp_path: Path, gated: bool, objective: str) -> None:
    settings = tiny.config(objective=objective)
    model = stirred(adapted(gated, settings))
    model.save(tmp_path)
    again = adapted(gated, settings, seed=9)
    assert not torch.allclose(scores(again), scores(model))
    again.load(tmp_path)
    assert torch.equal(scores(again), scores(model))


def test_the_folder_is_a_peft_adapter_that_plain_peft_loads(tmp_path: Path) -> None:
    model = stirred(adapted(False))
    model.save(tmp_path)
    loaded = PeftModel.from_pretrained(tiny.llama(), tmp_path).eval()
    ids = torch.randint(2, 300, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.peft(input_ids=ids).logits
        torch.testing.assert_close(loaded(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)
        assert (tiny.llama()(input_ids=ids).logits - expected).abs().max() > 0.1
    assert (
        json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny-llama"
    )


def changed(folder: Path, copy: Path, file: str, change: Any) -> Path:
    """A copy of a saved folder with one file's tensors changed."""
    shutil.copytree(folder, copy)
    tensors = load_file(copy / file)
    change(tensors)
    save_file(tensors, copy / file)
    return copy


def refused(folder: Path, match: str, gated: bool = True) -> None:
    """Loading fails with one error that says why, and changes no weight."""
    model = adapted(gated)
    before = {name: tensor.clone() for name, tensor in model.state().items()}
    with pytest.raises(ModelError, match=match):
        model.load(folder)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state().items())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    folder.mkdir()
    stirred(adapted()).save(folder)
    return folder


@pytest.mark.parametrize("file", [ADAPTER_FILE, REST_FILE])
def test_a_missing_weight_is_an_error(saved: Path, tmp_path: Path, file: str) -> None:
    for name in load_file(saved / file):
        if file == ADAPTER_FILE and "layers.3.mlp.up_proj" not in name:
            continue
        folder = changed(saved, tmp_path / name, file, lambda tensors, name=name: tensors.pop(name))
        refused(folder, "lacks")


@pytest.mark.parametrize("file", [ADAPTER_FILE, REST_FILE])
def test_an_unknown_weight_is_an_error(saved: Path, tmp_path: Path, file: str) -> None:
    folder = changed(saved, tmp_path / "odd", file, lambda tensors: tensors.update(extra=torch.zeros(2)))
    refused(folder, "unknown weight extra")


@pytest.mark.parametrize("file", [ADAPTER_FILE, REST_FILE])
def test_a_weight_in_the_wrong_file_is_an_error(saved: Path, file: str) -> None:
    other = REST_FILE if file == ADAPTER_FILE else ADAPTER_FILE
    mine, theirs = load_file(saved / file), load_file(saved / other)
    moved = next(iter(mine))
    theirs[moved] = mine.pop(moved)
    save_file(mine, saved / file)
    save_file(theirs, saved / other)
    refused(saved, f"holds the unknown weight {moved}")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("r", 8), ("lora_alpha", 1.0), ("target_modules", ["q_proj"]), ("layers_to_transform", [3])],
)
def test_pefts_settings_that_are_not_the_runs_are_an_error(saved: Path, setting: str, value: Any) -> None:
    path = saved / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), setting: value}))
    refused(saved, f"says {setting} = ")


def test_a_weight_of_another_shape_is_an_error(saved: Path, tmp_path: Path) -> None:
    def cut(tensors: dict[str, Tensor]) -> None:
        tensors["gate.linear.weight"] = tensors["gate.linear.weight"][:2].clone()

    refused(changed(saved, tmp_path / "cut", REST_FILE, cut), "gate.linear.weight has shape")


def test_loras_folder_is_not_an_iloras_and_the_other_way_round(saved: Path, tmp_path: Path) -> None:
    refused(saved, "unknown weight gate", gated=False)
    stirred(adapted(False)).save(tmp_path)
    refused(tmp_path, "lacks gate.linear.weight")


@pytest.mark.parametrize("file", [ADAPTER_FILE, REST_FILE])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text"])
def test_a_damaged_file_is_an_error(saved: Path, file: str, damage: str) -> None:
    content = (saved / file).read_bytes()
    (saved / file).unlink()
    if damage != "missing":
        made = {"empty": b"", "cut": content[: len(content) // 2], "text": b"not tensors at all"}[damage]
        (saved / file).write_bytes(made)
    refused(saved, "cannot be read")


def test_a_model_without_these_layers_is_refused_by_name() -> None:
    other = dataclasses.replace(tiny.config().adapter, targets=("q_proj", "c_attn"))
    with pytest.raises(ModelError, match="no layer named c_attn"):
        adapted(settings=dataclasses.replace(tiny.config(), adapter=other))
