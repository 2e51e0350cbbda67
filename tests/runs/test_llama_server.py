"""llama.cpp's own server, with exported experts at each user's scales, ranks as the program does.

The server is a `llama-server` on the path or named by ILORA_APP_LLAMA_SERVER, else the one in the `xllamacpp`
wheel, which comes with the test tools. The model is the embedded one; the adapters are random, for what they
learnt makes no difference here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from benchmarks import llama_server
from core.assets.known import embedded_model_file
from core.config.presets import preset_config, with_overrides
from core.config.serveable import with_serveable
from core.data.loading import load_task_data
from core.encoders.base import new_encoder
from core.events import silent
from core.ilora.model import AdaptedModel
from core.lm.loading import load_llm
from core.recommenders.registry import method_class
from core.runs.exporting_experts import export_experts
from core.runs.exporting_tokens import BASE
from core.runs.store import OpenRun, RunInfo
from tests import tiny

pytestmark = [
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.skipif(llama_server.find_server() is None, reason="there is no llama-server"),
]
TITLED = 3
"""Cases of titles as text: a request for each candidate."""
CASES = 100
"""Cases of items as tokens: one request for all candidates."""


class Served(NamedTuple):
    run: OpenRun
    client: llama_server.Client
    url: str


@pytest.fixture(scope="module")
def served(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A run of MovieLens that was never trained, exported, and the server; titles as text."""
    place = tmp_path_factory.mktemp("served")
    run = untrained(place)
    export_experts(run, place / "experts", "gguf")
    client = llama_server.Client(place / "experts")
    llama_server.write_float32(embedded_model_file(silent), place / "base.gguf")
    with llama_server.running(server(), place / "base.gguf", client.experts, 1, exact=True) as url:
        yield Served(run, client, url)


def server() -> list[str]:
    found = llama_server.find_server()
    assert found is not None
    return found


def untrained(place: Path, **training: Any) -> OpenRun:
    parts = with_serveable({"model": {"quantize": "none", "precision": "float32"}, "training": training})
    config = with_overrides(preset_config("quick"), **parts)
    dataset, samples = load_task_data(config.data)
    torch.manual_seed(0)
    encoder = new_encoder("sasrec", len(dataset.catalogue), config.encoder, dataset.rules.max_history)
    tiny.randomize(encoder)
    llm, titles, prompts = load_llm(config.model), dataset.catalogue.titles, dataset.card.prompts
    model = AdaptedModel(llm, encoder.freeze(), titles, prompts, config, True, 0)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in sorted(model.parameters().items()):
            scale = 1.0 if name.startswith("gate.") else 0.03
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    model.train(False)
    recommender: Any = method_class("ilora")()
    recommender.model, recommender.batch = model, 4
    info = RunInfo(place, "movielens", "paper", "ilora", 0, config, "ab", "2026-01-01", {})
    return OpenRun(info, dataset, samples, recommender)


def test_it_ranks_as_the_program_does_but_for_ties(served: Served) -> None:
    served.client.check(served.url)
    cases = llama_server.users_in_turn(served.run.samples.test["last"], TITLED)
    assert len({case.user for case in cases}) == TITLED
    found, *_ = llama_server.compare(served.run, served.client, served.url, cases)
    assert found.apart.max() < llama_server.TOLERANCE
    assert found.same_order(llama_server.TOLERANCE) == TITLED
    scales = [
        [adapter["scale"] for adapter in served.client.scales(ids(served, case.history))] for case in cases
    ]
    assert np.ptp(scales, axis=0).max() > 0.1, "all users had about the same scales"


def ids(served: Served, items: Any) -> list[str]:
    return [served.run.dataset.catalogue.ids[item] for item in items]


def test_what_was_read_for_another_user_is_never_met(served: Served) -> None:
    """The same prompt under two users' scales, in turn: as if each had the server alone."""
    client, rank = served.client, served.client.code["rank"]
    first, second = served.run.samples.test["last"][:2]
    loras = [client.scales(ids(served, case.history)) for case in (first, second)]
    history, candidates = ids(served, first.history), ids(served, first.candidates[:3])

    def scores(place: int) -> Any:
        return np.array(rank(served.url, client.prompt, loras[place], history, candidates))

    alone = [scores(0), scores(1)]
    assert np.abs(alone[0] - alone[1]).max() > 10 * llama_server.TOLERANCE
    for place in (0, 1, 1, 0):
        np.testing.assert_allclose(scores(place), alone[place], atol=llama_server.TOLERANCE)


def test_a_server_with_other_adapters_is_refused(served: Served) -> None:
    prompt = {**served.client.prompt, "adapters": served.client.prompt["adapters"][::-1]}
    with pytest.raises(served.client.code["Unusable"], match="adapters are"):
        served.client.code["check_server"](served.url, prompt)


def test_the_two_are_not_alike_by_chance(served: Served) -> None:
    """Without the user's scales the order is another one."""
    case = served.run.samples.test["last"][0]
    history, candidates = ids(served, case.history), ids(served, case.candidates[:3])
    zero = [{"id": place, "scale": 0.0} for place in range(len(served.client.experts))]
    bare = served.client.code["rank"](served.url, served.client.prompt, zero, history, candidates)
    own = served.client.rank(served.url, history, candidates)
    assert np.abs(np.subtract(bare, own)).max() > 10 * llama_server.TOLERANCE


def test_a_hundred_cases_with_items_as_tokens_stand_in_the_programs_order(home: Path, tmp_path: Path) -> None:
    run = untrained(tmp_path, item_tokens=True)
    export_experts(run, tmp_path / "experts", "gguf")
    client = llama_server.Client(tmp_path / "experts")
    cases = llama_server.users_in_turn(run.samples.test["spread"], CASES)
    base = tmp_path / "experts" / f"{BASE}.gguf"
    with llama_server.running(server(), base, client.experts, 1, exact=True) as url:
        found, *_ = llama_server.compare(run, client, url, cases)
    assert len({case.user for case in cases}) > 90 and len(cases) == CASES
    assert found.same_order(llama_server.TOLERANCE) == CASES
    assert found.ours.std(axis=1).min() > 10 * llama_server.TOLERANCE, "all candidates stand alike"
