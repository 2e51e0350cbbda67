"""Tiny random language models of many families, made from their settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as t

from tests import tiny

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
NEWER = "intermediate_size", "num_key_value_heads"
OLD: dict[str, Any] = {key: value for key, value in SIZES.items() if key not in NEWER}
OWN: dict[str, Any] = {"vocab_size": 320, "n_layer": 3, "n_head": 4, "bos_token_id": 0, "eos_token_id": 1}
GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 32}
TURNS = ["sliding_attention", "sliding_attention", "full_attention"]

WORK: dict[str, Callable[[], Any]] = {
    "llama": lambda: t.LlamaConfig(**SIZES),
    "mistral": lambda: t.MistralConfig(**SIZES, sliding_window=32),
    "qwen2": lambda: t.Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=32, max_window_layers=1),
    "qwen3": lambda: t.Qwen3Config(**SIZES, head_dim=8),
    "gemma": lambda: t.GemmaConfig(**SIZES, head_dim=8),
    "gemma2": lambda: t.Gemma2Config(**SIZES, **GEMMA, layer_types=TURNS),
    "gemma3": lambda: t.Gemma3TextConfig(**SIZES, **GEMMA, layer_types=TURNS),
    "phi3": lambda: t.Phi3Config(**SIZES),
    "gpt-neox": lambda: t.GPTNeoXConfig(**OLD, intermediate_size=64),
    "gpt2": lambda: t.GPT2Config(**OWN, n_embd=32, n_positions=1024),
    "opt": lambda: t.OPTConfig(**OLD, ffn_dim=64, word_embed_proj_dim=32),
    "olmo2": lambda: t.Olmo2Config(**SIZES),
    "granite": lambda: t.GraniteConfig(
        **SIZES, embedding_multiplier=12.0, residual_multiplier=0.22, logits_scaling=8.0
    ),
    "cohere": lambda: t.CohereConfig(**SIZES),
    "falcon": lambda: t.FalconConfig(**OLD, alibi=False),
    "falcon-alibi": lambda: t.FalconConfig(**OLD, alibi=True, multi_query=False),
    "bloom": lambda: t.BloomConfig(**OWN, hidden_size=32, pad_token_id=1),
}
"""Families that work, with windows that are shorter than the tests' prompts."""

LINEAR = {"head_dim": 8, "linear_num_value_heads": 4, "linear_num_key_heads": 2}
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "mixtral": (lambda: t.MixtralConfig(**SIZES, num_local_experts=4), "mixture of experts"),
    "mamba": (lambda: t.MambaConfig(vocab_size=320, hidden_size=32, num_hidden_layers=2), "state-space"),
    "qwen3.5": (
        lambda: t.Qwen3_5TextConfig(**{**SIZES, "num_hidden_layers": 4}, **LINEAR),
        "linear-attention",
    ),
    "opt-350m": (lambda: t.OPTConfig(**OLD, ffn_dim=64, word_embed_proj_dim=16), "another width"),
}
"""Families that are refused, and for what."""


def make(config: Any) -> Any:
    """A random model whose every part shows in the output, in float32."""
    torch.manual_seed(0)
    model = t.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.2)
    return model


def save(folder: Path, config: Any) -> Path:
    """The model as a folder, with a tokenizer."""
    make(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder
