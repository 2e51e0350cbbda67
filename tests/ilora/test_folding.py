"""A folded adapter is the gated one for that sequence, also through plain peft; a cut one says so."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from core.config.choices import GATE_SCOPES
from core.config.settings import GateConfig
from core.errors import InputError
from core.ilora.folding import MAX_RANK, Update, fold, reduce_rank, save_updates
from core.ilora.layers import ADAPTER
from core.lm.loading import disable_cpu_packing
from tests import tiny
from tests.ilora.test_layers import EXPERTS, RANK, Make, base, gated, tokens, uniform
from tests.ilora.test_model import adapted, stirred

__all__ = ["base"]  # a fixture
OMEGA = torch.tensor([[0.55, 0.05, 0.3, 0.1]])


@torch.no_grad()
def logits(model: Any, ids: Tensor) -> Tensor:
    found: Tensor = model.eval()(input_ids=ids).logits
    return found


def reloaded(make: Make, folder: Path) -> Any:
    """The folder on a fresh base model, by peft alone; 4-bit weights multiply in the same precision."""
    model = make()
    disable_cpu_packing(model)
    return PeftModel.from_pretrained(model, folder)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# --- folded is gated ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("omega", [OMEGA, torch.tensor([[0.0, 1.0, 0.0, 0.0]]), uniform(1)], ids=str)
def test_a_folded_adapter_answers_as_the_gated_one(base: Make, tmp_path: Path, omega: Tensor) -> None:
    model, weights = gated(base())
    ids = tokens(batch=1)
    with weights.use(omega):
        expected, updates = logits(model, ids), fold(model)
    save_updates(tmp_path, updates, model.peft_config[ADAPTER], "tiny-llama")
    close(logits(reloaded(base, tmp_path), ids), expected)
    if not torch.equal(omega, uniform(1)):
        with weights.use(uniform(1)):
            assert (logits(model, ids) - expected).abs().max() > 1e-2


def test_the_folder_needs_no_scale_and_no_gate(base: Make, tmp_path: Path) -> None:
    model, weights = gated(base())
    with weights.use(OMEGA):
        save_updates(tmp_path, fold(model), model.peft_config[ADAPTER], "tiny-llama")
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    assert settings["r"] == settings["lora_alpha"] == RANK
    assert settings["base_model_name_or_path"] == "tiny-llama"
    assert settings["peft_type"] == "LORA"
    assert not settings["use_rslora"]
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors", ".md"}


@pytest.mark.usefixtures("tiny_home")
@pytest.mark.parametrize("is_gated", [True, False], ids=["ilora", "lora"])
def test_a_users_history_becomes_their_own_static_adapter(tmp_path: Path, is_gated: bool) -> None:
    model = stirred(adapted(is_gated))
    if model.gate is not None:
        with torch.no_grad():
            for parameter in model.gate.parameters():
                parameter.mul_(20)
    ids, found = tokens(batch=1), []
    for place, history in enumerate(tiny.histories(2)):
        with torch.no_grad(), model._gated([history]):
            expected = logits(model.peft, ids)
        folder = tmp_path / str(place)
        folder.mkdir()
        save_updates(folder, model.folded(history), model.peft.peft_config[ADAPTER], "tiny-llama")
        found.append(logits(reloaded(tiny.llama, folder), ids))
        close(found[-1], expected)
    assert (float((found[0] - found[1]).abs().max()) > 1e-2) == is_gated


@pytest.mark.usefixtures("tiny_home")
@pytest.mark.parametrize("kind", tiny.GATES_ALONE)
@pytest.mark.parametrize("scope", GATE_SCOPES)
def test_every_gate_folds_whatever_shares_it(tmp_path: Path, kind: str, scope: str) -> None:
    settings = dataclasses.replace(tiny.config(), gate=GateConfig(kind=kind, scope=scope))
    model = stirred(adapted(settings=settings))
    model.train(False)
    (history,), ids = tiny.histories(1), tokens(batch=1)
    with torch.no_grad(), model._gated([history]):
        expected = logits(model.peft, ids)
    save_updates(tmp_path, model.folded(history), model.peft.peft_config[ADAPTER], "tiny-llama")
    close(logits(reloaded(tiny.llama, tmp_path), ids), expected)


@pytest.mark.usefixtures("tiny_home")
def test_the_run_folder_itself_is_the_uniform_gates_adapter_to_peft(tmp_path: Path) -> None:
    model = stirred(adapted())
    model.save(tmp_path)
    ids = tokens(batch=2)
    assert model.weights is not None
    with model.weights.use(uniform(2)):
        expected = logits(model.peft, ids)
    close(logits(reloaded(tiny.llama, tmp_path), ids), expected)
    plain = tmp_path / "plain"
    plain.mkdir()
    save_updates(plain, model.folded(None), model.peft.peft_config[ADAPTER], "tiny-llama")
    close(logits(reloaded(tiny.llama, plain), ids), expected)


def test_without_one_sequences_gate_there_is_nothing_to_fold() -> None:
    model, weights = gated(tiny.llama(layers=2))
    with pytest.raises(RuntimeError, match="without expert weights"):
        fold(model)
    with weights.use(uniform(2)), pytest.raises(RuntimeError, match="2 sequences"):
        fold(model)
    assert fold(model, gated=False)


# --- ranks -------------------------------------------------------------------------------------------------


def random_updates(rank: int, layers: int = 3) -> dict[str, Update]:
    generator = torch.Generator().manual_seed(rank)
    return {
        f"layer{place}": Update(
            torch.randn(rank, 24, generator=generator), torch.randn(40, rank, generator=generator)
        )
        for place in range(layers)
    }


def stacked(updates: dict[str, Update]) -> Tensor:
    return torch.cat([update.b @ update.a for update in updates.values()])


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_a_smaller_rank_is_the_closest_one_and_says_what_it_loses(rank: int) -> None:
    updates = random_updates(8)
    reduced, lost = reduce_rank(updates, rank)
    assert {update.rank for update in reduced.values()} == {rank}
    difference = (stacked(reduced) - stacked(updates)).norm() / stacked(updates).norm()
    assert lost == pytest.approx(float(difference), rel=1e-4)
    best = [torch.linalg.svdvals(update.b @ update.a)[rank:].square().sum() for update in updates.values()]
    assert lost == pytest.approx(float(sum(best) ** 0.5 / stacked(updates).norm()), rel=1e-4)


def test_a_rank_that_suffices_changes_nothing() -> None:
    updates = random_updates(8)
    reduced, lost = reduce_rank(updates, MAX_RANK)
    assert lost == 0
    assert torch.equal(stacked(reduced), stacked(updates))


def test_an_expert_alone_needs_no_more_than_its_own_rank() -> None:
    model, weights = gated(tiny.llama(layers=2))
    with weights.use(torch.tensor([[0.0, 0.0, 1.0, 0.0]])):
        updates = fold(model)
    reduced, lost = reduce_rank(updates, RANK // EXPERTS)
    assert lost < 1e-5
    for name, update in updates.items():
        close(reduced[name].b @ reduced[name].a, update.b @ update.a)


def test_a_rank_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="--rank is 0"):
        reduce_rank(random_updates(2), 0)


def test_layers_of_different_ranks_are_no_lora(tmp_path: Path) -> None:
    mixed = {**random_updates(2), "odd": random_updates(3)["layer0"]}
    with pytest.raises(ValueError, match="ranks"):
        save_updates(tmp_path, mixed, None, "tiny-llama")
