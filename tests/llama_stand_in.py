"""Stands in for llama.cpp's server: answers as its `/completion` does, by a model of transformers and peft.

It reads grammars that are a row of token ids, keeps one prompt a slot as the server does, and, like one with
the fault that llama.cpp's issue 26207 describes, does not ask whose scales the kept prompt was read with.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer


class Server:
    """One language model with several adapters.

    Args:
        model: with all adapters active.
        names: the adapters, in the order of their ids.
        files: what the server says that it loaded.
    """

    def __init__(self, model: PeftModel, names: list[str], files: list[str]) -> None:
        self.model, self.names, self.files = model, names, files
        self.kept: dict[int, tuple[list[int], Any]] = {}
        self.asked: list[dict[str, Any]] = []

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/lora-adapters":
            return [{"id": place, "path": f"/any/{file}"} for place, file in enumerate(self.files)]
        if path == "/v1/models":
            return {"data": [{"meta": {"n_vocab": self.model.config.vocab_size}}]}
        self.asked.append(body)
        return {"completion_probabilities": self.complete(body)}

    @torch.no_grad()
    def complete(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        for layer in self.model.modules():
            if isinstance(layer, LoraLayer):
                for adapter in body["lora"]:
                    layer.set_scale(self.names[adapter["id"]], adapter["scale"])
        if "grammar" not in body:
            return [self.follows(body)]
        answer = [int(token) for token in re.findall(r"<\[(\d+)\]>", body["grammar"])][: body["n_predict"]]
        prompt = body["prompt"]
        kept, cache = self.kept.get(body["id_slot"], ([], None))
        if not body["cache_prompt"] or kept != prompt:
            cache = self.model(torch.tensor([prompt[:-1]])).past_key_values
            self.kept[body["id_slot"]] = (prompt, cache)
        steps = []
        for token, follows in zip([prompt[-1], *answer], answer, strict=False):
            output = self.model(torch.tensor([[token]]), past_key_values=cache)
            said = output.logits[0, -1].float().log_softmax(-1)
            steps.append({"id": follows, "logprob": float(said[follows])})
        cache.crop(len(prompt) - 1 - cache.get_seq_length())
        return steps

    def follows(self, body: dict[str, Any]) -> dict[str, Any]:
        """What comes next by the raised logits, after samplers of which there must be none."""
        assert body["post_sampling_probs"] and body["samplers"] == [] and body["temperature"] == 1.0
        logits = self.model(torch.tensor([body["prompt"]])).logits[0, -1].float()
        for token, raised in body["logit_bias"]:
            logits[token] += raised
        said = logits.softmax(-1)
        best = said.argsort(descending=True)[: body["n_probs"]].tolist()
        top = [{"id": token, "prob": float(said[token])} for token in best]
        return {**top[0], "top_probs": top}


@contextmanager
def serving(server: Server) -> Iterator[str]:
    """Answers on a free port of this machine; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({})

        def do_POST(self) -> None:
            self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def reply(self, body: dict[str, Any]) -> None:
            content = json.dumps(server.answer(self.path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        listening.server_close()


def experts(base: Any, folder: Path, names: list[str]) -> PeftModel:
    """The base model with exported peft adapters, all active."""
    model = PeftModel.from_pretrained(base, folder / names[0], adapter_name=names[0])
    for name in names[1:]:
        model.load_adapter(folder / name, adapter_name=name)
    model.base_model.set_adapter(names)
    return model.eval()
