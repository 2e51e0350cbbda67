"""Methods on several datasets as one: each dataset's encoder as it is alone, one adapter for all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.config.presets import with_overrides
from core.config.settings import RunConfig
from core.encoders.joined import ELSEWHERE, JoinedEncoder
from core.errors import InputError
from core.ilora.folding import fold
from core.ilora.gate import DatasetGate
from core.ilora.standalone_gate import standalone
from core.recommenders.adapter import Ilora
from core.recommenders.base import Task
from core.recommenders.batching import validation_cases
from core.recommenders.encoders import MoRecRecommender, SASRecRecommender
from tests import tiny


@pytest.fixture(autouse=True)
def two_datasets(tiny_home: Path) -> None:
    tiny.install(tiny_home, tiny_home.parent / "mirror", name="other")


def settings(model: Path | str = "tiny-llama", **gate: object) -> RunConfig:
    config = tiny.config(model, samples=8, encoder_prior=False)
    return with_overrides(config, data={"dataset": "tiny+other"}, gate=gate, adapter={"experts": 2})


def shifted(rows: list[list[int]]) -> list[list[int]]:
    return [[item + tiny.ITEMS for item in row] for row in rows]


def joined_encoder() -> JoinedEncoder:
    return JoinedEncoder([tiny.encoder(0), tiny.encoder(1)], [tiny.ITEMS] * 2).freeze()


# --- the encoder -------------------------------------------------------------------------------------------


def test_each_history_is_read_by_its_own_encoder_in_its_own_place() -> None:
    model, histories, candidates = joined_encoder(), tiny.histories(4), tiny.candidates(4)
    z = model.represent([*histories, *shifted(histories)])
    assert z.shape == (8, 32) and model.width == 32
    for place, part in enumerate(model.encoders):
        rows = slice(4 * place, 4 * place + 4)
        own, other = slice(16 * place, 16 * place + 16), slice(16 - 16 * place, 32 - 16 * place)
        torch.testing.assert_close(z[rows, own], part.represent(histories))
        assert not z[rows, other].any()
        offered = torch.tensor(candidates) + place * tiny.ITEMS
        scores = part.score(part.represent(histories), torch.tensor(candidates))
        torch.testing.assert_close(model.score(z[rows], offered), scores)
        assert (model.score(z[rows], torch.tensor(candidates) + (1 - place) * tiny.ITEMS) == ELSEWHERE).all()
        logits = model.logits(z[rows])
        torch.testing.assert_close(logits.gather(1, offered), scores)


def test_items_of_two_datasets_have_nothing_in_common_and_one_size() -> None:
    vectors = joined_encoder().item_vectors()
    first, second = vectors[: tiny.ITEMS], vectors[tiny.ITEMS :]
    assert not (first @ second.T).any()
    torch.testing.assert_close(first.square().mean(), second.square().mean())


# --- methods -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SASRecRecommender, MoRecRecommender])
def test_an_encoder_ranks_each_datasets_cases_as_it_does_alone(
    kind: type[SASRecRecommender] | type[MoRecRecommender], tmp_path: Path, tiny_model: Path
) -> None:
    task = tiny.task(settings(tiny_model), tmp_path)
    both, alone = kind(), kind()
    report = both.fit(task)
    both.save(tmp_path)
    again = kind()
    again.load(tmp_path, task)
    for place, one in enumerate(task.each):
        found = alone.fit(one)
        assert report.trainable_parameters == 2 * found.trainable_parameters
        cases = one.samples.test["spread"]
        histories, candidates = [list(c.history) for c in cases], [list(c.candidates) for c in cases]
        expected = alone.score(histories, candidates)
        if place:
            histories, candidates = shifted(histories), shifted(candidates)
        np.testing.assert_allclose(both.score(histories, candidates), expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(again.score(histories, candidates), expected, rtol=1e-5, atol=1e-5)


def trained(task: Task) -> Ilora:
    made = Ilora()
    made.fit(task)
    return made


def test_one_adapter_serves_all_and_comes_back_from_its_folder(tmp_path: Path, tiny_model: Path) -> None:
    task = tiny.task(settings(tiny_model), tmp_path)
    made, folder = trained(task), tmp_path / "run"
    cases = task.samples.test["spread"]
    asked = [case.history for case in cases], [case.candidates for case in cases]
    scores, omega = made.score(*asked), made.expert_weights(asked[0])
    assert np.isfinite(scores).all() and omega is not None and omega.shape == (len(cases), 2)
    folder.mkdir()
    made.save(folder)
    again = Ilora()
    again.load(folder, task)
    np.testing.assert_allclose(again.score(*asked), scores, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="several datasets cannot be exported"):
        standalone(made.model, task.dataset.catalogue.ids, 10)


def test_validation_asks_each_dataset_alike_often(tmp_path: Path) -> None:
    task = tiny.task(settings(), tmp_path)
    asked = validation_cases(task, 7)
    assert len(asked) == 6 and {*asked} <= {*task.samples.validation}
    assert [case.user.split(":")[0] for case in asked] == ["tiny"] * 3 + ["other"] * 3


def test_the_gate_by_dataset_makes_an_adapter_for_each_that_share_no_factor(
    tmp_path: Path, tiny_model: Path
) -> None:
    """Folded for a user of one dataset, the other's half of A and B is not in it."""
    task = tiny.task(settings(tiny_model, kind="dataset"), tmp_path)
    model = trained(task).model
    assert isinstance(model.gate, DatasetGate) and not list(model.gate.parameters())
    for place, own in enumerate((tiny.histories(1), shifted(tiny.histories(1)))):
        update = next(iter(model.folded(own[0]).values()))
        half = slice(2 * place, 2 * place + 2)
        assert update.b[:, half].any() or update.rank == 4
        others = [column for column in range(4) if column not in range(4)[half]]
        assert not update.b[:, others].any()
    whole = next(iter(fold(model.peft, gated=False).values()))
    torch.testing.assert_close(update.b[:, half], 2 * whole.b[:, half])  # alpha over the expert's own rank


def test_the_gate_by_dataset_needs_datasets_and_an_expert_for_each() -> None:
    one = with_overrides(tiny.config(), adapter={"experts": 1})
    with pytest.raises(InputError, match="needs several datasets and an expert for each"):
        replace(one, gate=replace(one.gate, kind="dataset"))
    with pytest.raises(InputError, match="an expert for each: 2, not 4"):
        with_overrides(settings(kind="dataset"), adapter={"experts": 4})
