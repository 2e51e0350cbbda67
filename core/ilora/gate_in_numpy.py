"""The shared gate as plain numpy: each function here is printed as it stands into an export of experts.

`weights` are the arrays of gate.safetensors, `facts` is gate.json, `history` is a list of item ids, oldest
first. A server that calls `omega` needs nothing of this package.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, ignore-errors
# ruff: noqa: D103, E731
from __future__ import annotations

import math

import numpy as np


def sasrec(weights, facts, history):
    places = [facts["places"][item] for item in history][-facts["max_history"] :]
    dense = lambda x, name: x @ weights[name + "weight"].T + weights[name + "bias"]
    centred = lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    norm = lambda x, name: centred(x) * weights[name + ".weight"] + weights[name + ".bias"]
    x = weights["items.weight"][np.array(places) + 1] + weights["positions.weight"][-len(places) :]
    for layer in range(facts["layers"]):
        at = f"blocks.layers.{layer}."
        heads = dense(norm(x, at + "norm1"), at + "self_attn.in_proj_").reshape(len(x), 3, facts["heads"], -1)
        q, k, v = heads.transpose(1, 2, 0, 3)  # each (heads, items, width / heads)
        a = q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1]) + np.triu(np.full((len(x), len(x)), -np.inf), 1)
        a = np.exp(a - a.max(-1, keepdims=True))
        mixed = (a / a.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(len(x), -1)
        x = x + dense(mixed, at + "self_attn.out_proj.")
        h = dense(norm(x, at + "norm2"), at + "linear1.")
        x = x + dense(h * (1 + np.vectorize(math.erf)(h / math.sqrt(2))) / 2, at + "linear2.")
    return norm(x, "norm")[-1]


def esasrec(weights, facts, history):
    places = [facts["places"][item] for item in history][-facts["max_history"] :]
    dense = lambda x, name: x @ weights[name + "weight"].T + weights[name + "bias"]
    centred = lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    norm = lambda x, name: centred(x) * weights[name + ".weight"] + weights[name + ".bias"]
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    x = weights["items.weight"][np.array(places) + 1] + weights["positions.weight"][-len(places) :]
    for layer in range(facts["layers"]):
        at = f"blocks.{layer}."
        heads = dense(norm(x, at + "norm1"), at + "attention.in_proj_").reshape(len(x), 3, facts["heads"], -1)
        q, k, v = heads.transpose(1, 2, 0, 3)  # each (heads, items, width / heads)
        a = q @ k.swapaxes(1, 2) / math.sqrt(q.shape[-1]) + np.triu(np.full((len(x), len(x)), -np.inf), 1)
        a = np.exp(a - a.max(-1, keepdims=True))
        mixed = (a / a.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(len(x), -1)
        x = x + sigmoid(dense(x, at + "gate1.")) * dense(mixed, at + "attention.out_proj.")
        h, linear = np.split(norm(x, at + "norm2") @ weights[at + "up.weight"].T, 2, axis=-1)
        x = x + sigmoid(dense(x, at + "gate2.")) * (h * sigmoid(h) * linear @ weights[at + "down.weight"].T)
    return x[-1]


def gru4rec(weights, facts, history):
    places = [facts["places"][item] for item in history][-facts["max_history"] :]
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    state = np.zeros(weights["gru.weight_hh_l0"].shape[1])
    for place in places:
        x = weights["gru.weight_ih_l0"] @ weights["items.weight"][place + 1] + weights["gru.bias_ih_l0"]
        h = weights["gru.weight_hh_l0"] @ state + weights["gru.bias_hh_l0"]
        (xr, xz, xn), (hr, hz, hn) = np.split(x, 3), np.split(h, 3)
        kept, new = sigmoid(xz + hz), np.tanh(xn + sigmoid(xr + hr) * hn)
        state = (1 - kept) * new + kept * state
    return weights["output.weight"] @ state + weights["output.bias"]


def caser(weights, facts, history):
    places = [facts["places"][item] for item in history][-facts["max_history"] :]
    image = np.zeros((facts["max_history"], weights["items.weight"].shape[1]))
    image[-len(places) :] = weights["items.weight"][np.array(places) + 1]
    read = []
    for height in range(1, len(image) + 1):
        windows = np.lib.stride_tricks.sliding_window_view(image, height, axis=0)
        name = f"horizontal.{height - 1}."
        read.append(np.einsum("nwh,fwh->nf", windows, weights[name + "weight"]) + weights[name + "bias"])
    columns = weights["vertical.weight"][:, 0, :, 0] @ image + weights["vertical.bias"][:, None]
    seen = np.concatenate([*(np.maximum(part, 0).max(0) for part in read), columns.ravel()])
    return np.maximum(weights["hidden.weight"] @ seen + weights["hidden.bias"], 0)


def mean(weights, facts, history):
    places = [facts["places"][item] for item in history][-facts["max_history"] :]
    return weights["sums"][places].sum(0) / weights["counts"][places].sum()


def random(weights, facts, history):
    places = [facts["places"][item] for item in history][-facts["max_history"] :]
    return np.random.default_rng(places).standard_normal(facts["width"])


def linear(weights, facts, z):
    return weights["gate.W"] @ z


def mlp(weights, facts, z):
    hidden = weights["gate.hidden"] @ z + weights["gate.hidden_bias"]
    hidden = hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2
    return weights["gate.W"] @ hidden + weights["gate.bias"]


def weigh(logits, facts):
    logits = np.where(logits < np.sort(logits)[-facts["kept"]], -np.inf, logits)
    chances = np.exp(logits - logits.max())
    return chances / chances.sum()
