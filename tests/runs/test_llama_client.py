"""What is exported for llama.cpp's server ranks as the run does, whoever was asked about before."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from core.config.settings import GateConfig, RunConfig
from core.runs.exporting import export_adapter
from core.runs.exporting_experts import FACTS, GATE, MANIFEST, export_experts
from core.runs.prompt_files import CLIENT, MOST_CANDIDATES, PROMPT
from core.runs.store import OpenRun
from tests import llama_stand_in, tiny
from tests.runs.test_experts import opened, settings

pytestmark = pytest.mark.usefixtures("tiny_home")

TOLERANCE = 2e-4
"""Nats: the same sums of float32, in another order."""


def serveable() -> RunConfig:
    config = tiny.config(objective="language-model", item_slots=False, curriculum=False)
    adapter = dataclasses.replace(config.adapter, layers=0)
    return dataclasses.replace(config, adapter=adapter, gate=GateConfig(scope="shared"))


@pytest.fixture
def run(tmp_path: Path) -> OpenRun:
    return opened(serveable(), tmp_path)


@pytest.fixture
def folder(run: OpenRun, tmp_path: Path) -> Path:
    export_experts(run, tmp_path / "gguf", "gguf")
    return tmp_path / "gguf"


@pytest.fixture
def server(run: OpenRun, tmp_path: Path) -> llama_stand_in.Server:
    names = [f"expert-{place}" for place in range(4)]
    export_experts(run, tmp_path / "peft")
    model = llama_stand_in.experts(tiny.llama(), tmp_path / "peft", names)
    return llama_stand_in.Server(model, names, [f"{name}.gguf" for name in names])


@pytest.fixture
def url(server: llama_stand_in.Server) -> Iterator[str]:
    with llama_stand_in.serving(server) as address:
        yield address


class Client:
    """`rank.py` as it was exported, and what lies beside it."""

    def __init__(self, folder: Path) -> None:
        self.code: dict[str, Any] = {"__name__": "rank"}
        exec((folder / CLIENT).read_text(), self.code)
        self.facts, self.prompt = (json.loads((folder / name).read_text()) for name in (FACTS, PROMPT))
        self.weights = load_file(folder / GATE)

    def lora(self, history: Sequence[str]) -> Any:
        return self.code["scales"](self.facts, self.code["omega"](self.weights, self.facts, history))

    def rank(self, url: str, history: Sequence[str], candidates: Sequence[str]) -> Any:
        return self.code["rank"](url, self.prompt, self.lora(history), history, candidates)


def ours(run: OpenRun, history: Sequence[int], candidates: Sequence[int]) -> Any:
    model: Any = run.recommender
    with torch.no_grad():
        return model.model.scores([history], [candidates])[0].numpy()


def ids(run: OpenRun, items: Sequence[int]) -> list[str]:
    return [run.dataset.catalogue.ids[item] for item in items]


def test_it_ranks_as_the_run_does(run: OpenRun, folder: Path, url: str) -> None:
    client = Client(folder)
    client.code["check_server"](url, client.prompt)
    longest = list(range(14))  # more than a prompt has
    for history, row in zip([*tiny.histories(2), longest], tiny.candidates(3, 6), strict=True):
        found = client.rank(url, ids(run, history), ids(run, row))
        np.testing.assert_allclose(found, ours(run, history[-10:], row), atol=TOLERANCE)


def test_another_users_scales_leave_nothing_behind(run: OpenRun, folder: Path, url: str) -> None:
    """The same prompt with other scales: the stand-in keeps what it read, whoever it was read for."""
    client = Client(folder)
    history, row = ids(run, tiny.histories(1)[0]), ids(run, tiny.candidates(1, 4)[0])
    loras = [client.lora([item]) for item in ids(run, (0, 20))]
    rank = lambda lora: client.code["rank"](url, client.prompt, lora, history, row)  # noqa: E731
    alone = [rank(lora) for lora in loras]
    assert np.abs(np.subtract(*alone)).max() > 100 * TOLERANCE
    for place in (0, 1, 1, 0):
        np.testing.assert_allclose(rank(loras[place]), alone[place], atol=TOLERANCE)


def test_a_prompt_is_read_once_a_user(
    run: OpenRun, folder: Path, url: str, server: llama_stand_in.Server
) -> None:
    client = Client(folder)
    client.rank(url, ids(run, (1, 2, 3)), ids(run, (4, 5, 6)))
    assert [body["cache_prompt"] for body in server.asked] == [False, True, True]
    assert len({json.dumps(body["prompt"]) for body in server.asked}) == 1


def test_the_program_prints_the_best_first(run: OpenRun, folder: Path, url: str) -> None:
    history, row = tiny.histories(1)[0], tiny.candidates(1, 5)[0]
    done = program(
        folder, url, "--history", ",".join(ids(run, history)), "--candidates", ",".join(ids(run, row))
    )
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first.startswith("scales ")
    best = np.argsort(-ours(run, history, row))
    assert [line.split()[1] for line in lines] == [ids(run, row)[place] for place in best]
    assert run.dataset.catalogue.titles[row[best[0]]] in lines[0]


def program(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / CLIENT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_cannot_be_asked_is_one_line(
    run: OpenRun, folder: Path, url: str, server: llama_stand_in.Server
) -> None:
    client = Client(folder)
    server.files = server.files[::-1]
    with pytest.raises(client.code["Unusable"], match="adapters are"):
        client.code["check_server"](url, client.prompt)
    server.files = server.files[::-1]
    client.prompt["vocabulary"] += 1
    with pytest.raises(client.code["Unusable"], match="tokens"):
        client.code["check_server"](url, client.prompt)
    done = program(
        folder, "http://127.0.0.1:9", "--history", ids(run, (1,))[0], "--candidates", "no such item"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: not in the training data: no such item\n"
    done = program(
        folder, "http://127.0.0.1:9", "--history", ids(run, (1,))[0], "--candidates", ids(run, (2,))[0]
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: http://127.0.0.1:9/lora-adapters cannot be asked")
    assert done.stderr.count("\n") == 1


def test_a_template_that_counts_is_written_out(tmp_path: Path) -> None:
    from core.lm.prompts import AnswerPrompt
    from core.runs import llama_client
    from core.runs.prompt_files import parts_of

    prompt = AnswerPrompt(
        tiny.tokenizer(), tiny.TITLES, "Seen {history}. Of these {count}: {candidates} next:"
    )
    items = {str(place): prompt.answer(place).tokens.tolist() for place in range(tiny.ITEMS)}
    written = json.loads(json.dumps({"parts": parts_of(prompt), "items": items}))
    for row in ((4,), (4, 5, 6)):
        expected = [token for piece in prompt.prefix((1, 2), row) for token in piece.tokens.tolist()]
        assert llama_client.prompt_tokens(written, ["1", "2"], list(map(str, row))) == expected
    with pytest.raises(llama_client.Unusable, match=f"1 to {MOST_CANDIDATES}"):
        llama_client.prompt_tokens(written, ["1"], ["2"] * (MOST_CANDIDATES + 1))


def test_what_a_server_cannot_rank_with_gets_no_client(tmp_path: Path) -> None:
    export_experts(opened(settings(), tmp_path), tmp_path / "out", "gguf")
    assert not (tmp_path / "out" / CLIENT).exists()
    assert not (tmp_path / "out" / PROMPT).exists()


def test_the_manifest_has_the_client_too(folder: Path) -> None:
    assert {CLIENT, PROMPT} <= json.loads((folder / MANIFEST).read_text())["files"].keys()
    assert f"python {CLIENT} " in (folder / "README.md").read_text()


def test_one_folded_adapter_a_user_ranks_alike_in_plain_peft(run: OpenRun, tmp_path: Path) -> None:
    """As vLLM and SGLang serve it: a plain LoRA for the user, a plain prompt, titles by likelihood."""
    from peft import PeftModel

    prompt: Any = run.recommender.model.ranker.prompt  # type: ignore[attr-defined]
    found = []
    for user in ("1", "30"):
        exported = export_adapter(run, tmp_path / user, user)
        model = PeftModel.from_pretrained(tiny.llama(), tmp_path / user).eval()
        row = tiny.candidates(1, 5)[0]
        asked = [token for piece in prompt.prefix(exported.history, row) for token in piece.tokens.tolist()]
        found.append([by_hand(model, asked, prompt.answer(item).tokens.tolist()) for item in row])
        np.testing.assert_allclose(found[-1], ours(run, exported.history, row), atol=TOLERANCE)


@torch.no_grad()
def by_hand(model: Any, prompt: list[int], answer: list[int]) -> float:
    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return float(logits[torch.arange(len(answer)), torch.tensor(answer)].sum())


def test_a_server_that_does_not_raise_tokens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.runs import llama_client

    old = {"completion_probabilities": [{"id": 5, "top_logprobs": [{"id": 5, "logprob": -0.1}]}]}
    monkeypatch.setattr(llama_client, "call", lambda *_: old)
    with pytest.raises(llama_client.Unusable, match="raised tokens"):
        llama_client.next_tokens("http://127.0.0.1:9", [1, 2], [], [5, 6])
