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

MORE: dict[str, Callable[[], Any]] = {
    "stablelm": lambda: t.StableLmConfig(**SIZES),
    "starcoder2": lambda: t.Starcoder2Config(**SIZES, sliding_window=32),
    "olmo": lambda: t.OlmoConfig(**SIZES),
    "olmo3": lambda: t.Olmo3Config(**SIZES, sliding_window=32, layer_types=TURNS),
    "smollm3": lambda: t.SmolLM3Config(
        **SIZES, use_sliding_window=True, sliding_window=32, layer_types=TURNS, no_rope_layers=[1, 0, 1]
    ),
    "nemotron": lambda: t.NemotronConfig(**SIZES, head_dim=8),
    "glm": lambda: t.GlmConfig(**SIZES, head_dim=8),
    "glm4": lambda: t.Glm4Config(**SIZES, head_dim=8),
    "mpt": lambda: t.MptConfig(vocab_size=320, d_model=32, n_heads=4, n_layers=3, max_seq_len=1024),
    "gpt-j": lambda: t.GPTJConfig(**OWN, n_embd=32, n_positions=1024, rotary_dim=4),
    "gpt-neo": lambda: t.GPTNeoConfig(
        vocab_size=320, hidden_size=32, num_layers=4, num_heads=4, window_size=32,
        attention_types=[[["global", "local"], 2]], max_position_embeddings=1024,
    ),
    "gpt-bigcode": lambda: t.GPTBigCodeConfig(**OWN, n_embd=32, n_positions=1024),
    "persimmon": lambda: t.PersimmonConfig(**OLD, intermediate_size=64),
    "xglm": lambda: t.XGLMConfig(
        vocab_size=320, d_model=32, ffn_dim=64, num_layers=3, attention_heads=4, max_position_embeddings=1024
    ),
    "biogpt": lambda: t.BioGptConfig(**OLD, intermediate_size=64),
    "exaone4": lambda: t.Exaone4Config(**SIZES, sliding_window=32, layer_types=TURNS),
    "ernie": lambda: t.Ernie4_5Config(**SIZES),
    "cohere2": lambda: t.Cohere2Config(**SIZES, sliding_window=32, layer_types=TURNS),
    "phi": lambda: t.PhiConfig(**SIZES),
    "phi3-long": lambda: t.Phi3Config(
        **SIZES, sliding_window=32, original_max_position_embeddings=32,
        rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4,
                         "long_factor": [4.0] * 4, "original_max_position_embeddings": 32, "factor": 32.0},
    ),
    "llama-yarn": lambda: t.LlamaConfig(
        **SIZES, rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                                  "original_max_position_embeddings": 32},
    ),
    "deepseek-dense": lambda: t.DeepseekV3Config(
        **{**SIZES, "num_key_value_heads": 4}, kv_lora_rank=16, q_lora_rank=16, qk_rope_head_dim=8,
        v_head_dim=8, qk_nope_head_dim=8, first_k_dense_replace=3,
    ),
    "ctrl": lambda: t.CTRLConfig(vocab_size=320, n_positions=1024, n_embd=32, dff=64, n_layer=3, n_head=4),
    "gemma3-pictures": lambda: t.Gemma3Config(
        text_config={**SIZES, **GEMMA, "layer_types": TURNS},
        vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3,
                       "num_attention_heads": 2, "image_size": 32, "patch_size": 16},
        mm_tokens_per_image=4,
    ),
}  # fmt: skip
"""More families that work, one feature that no other has in each."""

EXPERTS, MEMORY = "mixture of experts", "state-space or linear-attention"
MORE_REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "qwen2-moe": (lambda: t.Qwen2MoeConfig(**SIZES), EXPERTS),
    "qwen3-moe": (lambda: t.Qwen3MoeConfig(**SIZES), EXPERTS),
    "olmoe": (lambda: t.OlmoeConfig(**SIZES), EXPERTS),
    "granite-moe": (lambda: t.GraniteMoeConfig(**SIZES), EXPERTS),
    "phi-moe": (lambda: t.PhimoeConfig(**SIZES), EXPERTS),
    "gpt-oss": (lambda: t.GptOssConfig(**SIZES), EXPERTS),
    "llama4": (lambda: t.Llama4TextConfig(**SIZES, intermediate_size_mlp=64, num_local_experts=2), EXPERTS),
    "mamba2": (
        lambda: t.Mamba2Config(vocab_size=320, hidden_size=32, num_hidden_layers=2, num_heads=8, head_dim=8),
        MEMORY,
    ),
    "falcon-mamba": (
        lambda: t.FalconMambaConfig(vocab_size=320, hidden_size=32, num_hidden_layers=2),
        MEMORY,
    ),
    "jamba": (lambda: t.JambaConfig(**{**SIZES, "num_hidden_layers": 8}), MEMORY),
    "bamba": (lambda: t.BambaConfig(**SIZES, mamba_n_heads=8, mamba_d_head=8), MEMORY),
    "recurrent-gemma": (lambda: t.RecurrentGemmaConfig(**SIZES, lru_width=32), MEMORY),
    "rwkv": (lambda: t.RwkvConfig(vocab_size=320, hidden_size=32, num_hidden_layers=2), MEMORY),
    "xlstm": (
        lambda: t.xLSTMConfig(vocab_size=320, hidden_size=32, num_hidden_layers=2, num_heads=4),
        MEMORY,
    ),
    "lfm2": (lambda: t.Lfm2Config(**SIZES, layer_types=["conv", "full_attention", "conv"]), MEMORY),
    "qwen3-next": (lambda: t.Qwen3NextConfig(**SIZES), MEMORY),
    "minimax": (lambda: t.MiniMaxConfig(**SIZES), "linear_attention"),
    "bart": (lambda: t.BartConfig(vocab_size=320, d_model=32, decoder_layers=3, encoder_layers=2), "list"),
    "t5": (lambda: t.T5Config(vocab_size=320, d_model=32, d_kv=8, d_ff=64, num_layers=2), "cannot load"),
    "vit": (t.ViTConfig, "cannot load"),
}
"""More families that are refused from their settings, and for what."""

UNREAD: dict[str, tuple[Callable[[], Any], str]] = {
    "gemma3n": (
        lambda: t.Gemma3nTextConfig(
            **{**SIZES, "num_hidden_layers": 4}, vocab_size_per_layer_input=320, laurel_rank=4, head_dim=8,
            hidden_size_per_layer_input=8, sliding_window=32, num_kv_shared_layers=0,
            layer_types=["sliding_attention", "full_attention"] * 2,
        ),
        "not read rightly by this program: the likelihoods",
    ),
    "trocr": (
        lambda: t.TrOCRConfig(
            vocab_size=320, d_model=32, decoder_layers=3, decoder_attention_heads=4, decoder_ffn_dim=64
        ),
        "layers that its own answers do not use, such as 0.encoder_attn",
    ),
    "gpt2-cross": (
        lambda: t.GPT2Config(**OWN, n_embd=32, n_positions=1024, add_cross_attention=True),
        "layers that its own answers do not use, such as 0.crossattention",
    ),
    "deepseek-broken": (
        lambda: t.DeepseekV3Config(**SIZES, first_k_dense_replace=3),  # of heads that do not match
        "does not answer a short made-up case",
    ),
}  # fmt: skip
"""Families that are refused when they are compared, and for what."""


def make(config: Any) -> Any:
    """A random model whose every part shows in the output, in float32."""
    torch.manual_seed(0)
    model = t.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 or not parameter.any():
                parameter.normal_(std=0.2)
    return model


def save(folder: Path, config: Any) -> Path:
    """The model as a folder, with a tokenizer."""
    make(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder
