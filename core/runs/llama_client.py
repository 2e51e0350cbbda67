"""Ranks for a user with llama.cpp's server: the experts at this user's scales, each title by its likelihood.

`ilora-app export --experts --format gguf` writes this code into rank.py, with the gate's. It needs numpy and
safetensors, and nothing of the program that trained the experts.

The server gives log-probabilities of the tokens that it writes, not of those that it reads. So a grammar
that allows one title's tokens and nothing else has it write the title; the log-probabilities are those from
before the grammar. A user's prompt is read anew for the first title and kept for the others: what another
user's scales made of a like prompt is never met. Where each item is one token, one request has them all: the
tokens are raised so far above all others that the server's probabilities are those among them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

LORA = list[dict[str, Any]]
RAISED = 100.0
"""Added to the logits of the tokens that are asked about; in single precision differences keep 1e-5."""


class Unusable(Exception):
    """The server cannot be asked, or not for this."""


def call(address: str, body: Mapping[str, Any] | None = None) -> Any:
    """What the server answers to a body, or to a plain question."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=600) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise Unusable(
            f"{address} answers {error.code}: {error.read(300).decode(errors='replace')}"
        ) from error
    except (OSError, ValueError) as error:
        raise Unusable(f"{address} cannot be asked: {error}") from error


def check_server(url: str, prompt: Mapping[str, Any]) -> None:
    """Raises `Unusable` unless the server has these experts, in this order, on a model of this vocabulary."""
    loaded = [Path(adapter["path"]).name for adapter in call(f"{url}/lora-adapters")]
    if loaded != prompt["adapters"]:
        raise Unusable(f"the server's adapters are {loaded or 'none'}, and should be {prompt['adapters']}")
    words = call(f"{url}/v1/models")["data"][0].get("meta", {}).get("n_vocab")
    if words not in (None, prompt["vocabulary"]):
        raise Unusable(
            f"the server's model has {words} tokens, and {prompt['base_model']} {prompt['vocabulary']}"
        )


def scales(facts: Mapping[str, Any], omega: Sequence[float]) -> LORA:
    """What a request says of the adapters: expert k at scale K * omega_k."""
    return [{"id": place, "scale": facts["scale"] * float(weight)} for place, weight in enumerate(omega)]


def prompt_tokens(prompt: Mapping[str, Any], history: Sequence[str], candidates: Sequence[str]) -> list[int]:
    """The prompt as token ids; the server's own way of cutting text into tokens does not matter."""
    lists = {"{history}": history, "{candidates}": candidates}
    tokens: list[int] = []
    for part in prompt["parts"]:
        if isinstance(part, str):
            tokens += [token for item in lists[part] for token in prompt["items"][item]]
        else:
            tokens += _counted(part, len(candidates)) if isinstance(part, dict) else part
    return tokens


def _counted(texts: Mapping[str, list[int]], count: int) -> list[int]:
    if str(count) not in texts:
        raise Unusable(f"a prompt has 1 to {len(texts)} candidates, and not {count}")
    return texts[str(count)]


def likelihood(
    url: str, prompt: Sequence[int], answer: Sequence[int], lora: LORA, slot: int = 0, fresh: bool = True
) -> float:
    """Sum of the log-probabilities of the answer's tokens after the prompt's.

    Args:
        url: the server's address.
        prompt: token ids.
        answer: token ids.
        lora: the adapters' scales.
        slot: which of the server's slots; one user at a time in each.
        fresh: read the prompt anew, whatever the slot holds; else the same user was asked about just before.
    """
    body = {
        "prompt": [*prompt],
        "n_predict": len(answer),
        "n_probs": 1,
        "grammar": "root ::= " + " ".join(f"<[{token}]>" for token in answer),
        "lora": lora,
        "id_slot": slot,
        "cache_prompt": not fresh,
    }
    steps = call(f"{url}/completion", body).get("completion_probabilities", [])
    if [step["id"] for step in steps] != [*answer]:
        raise Unusable("the server does not keep to a grammar of token ids; llama.cpp of 2026 does")
    return float(sum(step["logprob"] for step in steps))


def next_tokens(
    url: str, prompt: Sequence[int], lora: LORA, tokens: Sequence[int], slot: int = 0
) -> list[float]:
    """Log-probabilities of these tokens as what follows the prompt, if it can be nothing else."""
    body = {
        "prompt": [*prompt],
        "n_predict": 1,
        "logit_bias": [[token, RAISED] for token in tokens],
        "samplers": [],
        "temperature": 1.0,
        "n_probs": len(tokens),
        "post_sampling_probs": True,
        "lora": lora,
        "id_slot": slot,
        "cache_prompt": False,
    }
    (step,) = call(f"{url}/completion", body)["completion_probabilities"]
    said = {one["id"]: float(one["prob"]) for one in step.get("top_probs", [])}
    if not said.keys() >= {*tokens}:
        raise Unusable("the server does not tell the probabilities of raised tokens; llama.cpp of 2025 does")
    return [math.log(said[token]) if said[token] > 0 else -math.inf for token in tokens]


def rank(
    url: str,
    prompt: Mapping[str, Any],
    lora: LORA,
    history: Sequence[str],
    candidates: Sequence[str],
    slot: int = 0,
) -> list[float]:
    """The log-likelihood of each candidate's title or, where items are tokens, of its token among them."""
    known = [item for item in history if item in prompt["items"]][-prompt["max_history"] :]
    tokens = prompt_tokens(prompt, known, candidates)
    if "answers" in prompt:  # one token each, so that one request ranks the whole catalogue
        asked = [token for item in candidates for token in prompt["answers"][item]]
        return next_tokens(url, tokens, lora, asked, slot)
    answers = [prompt["items"][item] for item in candidates]
    return [
        likelihood(url, tokens, answer, lora, slot, fresh=not place) for place, answer in enumerate(answers)
    ]


def main(omega: Callable[[Any, Any, Sequence[str]], Sequence[float]]) -> None:
    """Ranks candidates for one history, best first."""
    from safetensors.numpy import load_file

    parser = argparse.ArgumentParser(description="rank candidates with a running llama-server")
    parser.add_argument("url", help="such as http://127.0.0.1:8080")
    parser.add_argument("--history", required=True, help="ids of the items chosen last, oldest first: 50,172")
    parser.add_argument("--candidates", required=True, help="ids of the items to rank: 1,2,3")
    given = parser.parse_args()
    folder, history, candidates = (
        Path(__file__).parent, given.history.split(","), given.candidates.split(",")
    )  # fmt: skip
    facts, prompt = (json.loads((folder / name).read_text("utf-8")) for name in ("gate.json", "prompt.json"))
    if unknown := [item for item in (*history, *candidates) if item not in prompt["items"]]:
        sys.exit(f"error: not in the training data: {', '.join(unknown)}")
    try:
        check_server(given.url, prompt)
        lora = scales(facts, omega(load_file(folder / "gate.safetensors"), facts, history))
        scores = rank(given.url, prompt, lora, history, candidates)
    except Unusable as error:
        sys.exit(f"error: {error}")
    print("scales", " ".join(f"{adapter['scale']:.3f}" for adapter in lora))
    for score, item in sorted(zip(scores, candidates, strict=True), reverse=True):
        print(f"{score:9.3f}  {item}  {prompt['titles'][item]}")
