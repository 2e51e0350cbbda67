"""LoRA adapters as llama.cpp reads them: GGUF files of kind `adapter`, tensors under its own names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from core.errors import InputError
from core.ilora.folding import Update

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""`model_type` of transformers -> llama.cpp's architecture, where rows of weights mean the same in both,
except that `llama` there has the rows of query and key in the order of interleaved rotary pairs."""


def architecture_of(config: Any) -> str:
    """llama.cpp's name for a language model's architecture.

    Raises:
        InputError: adapters for this kind of model cannot be written as GGUF.
    """
    kind = str(getattr(config, "model_type", ""))
    if kind not in ARCHITECTURES:
        raise InputError(
            f"adapters for a {kind} model cannot be written as GGUF",
            f"known: {', '.join(ARCHITECTURES)}; or leave --format out, and convert with llama.cpp's script",
        )
    return ARCHITECTURES[kind]


def interleaved(rows: Tensor, heads: int) -> Tensor:
    """Rows of a query or key matrix (out, n), two halves per head, in the order of rotary pairs."""
    out, width = rows.shape
    return rows.reshape(heads, 2, out // heads // 2, width).swapaxes(1, 2).reshape(out, width)


def write_gguf(path: Path, updates: Mapping[str, Update], config: Any, name: str) -> None:
    """Writes one adapter whose scale is inside its B, so that llama.cpp's scale 1 is the adapter itself.

    Args:
        path: a file that is not there yet.
        updates: peft's module name -> update, all of one rank; float32.
        config: the language model's own settings.
        name: stands in the file's metadata.

    Raises:
        InputError: adapters for this kind of model cannot be written as GGUF.
    """
    import gguf

    architecture = architecture_of(config)
    kind = next(key for key, text in gguf.MODEL_ARCH_NAMES.items() if text == architecture)
    names = gguf.get_tensor_name_map(kind, int(config.num_hidden_layers))
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(next(iter(updates.values())).rank))
    writer.add_name(name)
    for module, update in updates.items():
        plain = module.removeprefix("base_model.model.")
        found = names.get_name(plain)
        if found is None:
            raise InputError(f"llama.cpp has no tensor for {plain}", "leave --format out")
        b = update.b
        if architecture == "llama" and plain.endswith(("q_proj", "k_proj")):
            is_key = plain.endswith("k_proj")
            b = interleaved(b, config.num_key_value_heads if is_key else config.num_attention_heads)
        writer.add_tensor(f"{found}.weight.lora_a", _array(update.a))
        writer.add_tensor(f"{found}.weight.lora_b", _array(b))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(tensor.float().numpy())
