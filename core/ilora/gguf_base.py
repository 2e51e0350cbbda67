"""A language model with item tokens as llama.cpp reads it: new weights under what the original file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from core.errors import InputError
from core.ilora.gguf_lora import architecture_of, interleaved

TOKENS, TYPES, SCORES = (f"tokenizer.ggml.{name}" for name in ("tokens", "token_type", "scores"))
UNUSED, OWN = 5, 4
"""llama.cpp's kinds of tokens: a gap in the list, and one that the user defined."""
LEFT_OUT = ("GGUF.", "general.architecture", "general.file_type", "general.quantization_version")
"""What is said of the file itself, or of how its weights were packed."""


def write_base_gguf(
    path: Path, source: Path, weights: Mapping[str, Tensor], config: Any, names: Sequence[str], first: int
) -> None:
    """Writes weights in 16 bit beside the original's settings and tokenizer, which gets more tokens.

    Args:
        path: a file that is not there yet.
        source: the GGUF file that the language model came from.
        weights: from `core.ilora.plain_base.plain_weights`.
        config: the language model's own settings.
        names: the added tokens.
        first: the id of the first of them.

    Raises:
        InputError: this kind of model cannot be written as GGUF.
    """
    import gguf

    architecture = architecture_of(config)
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, architecture)
    vocabulary = max(len(tensor) for name, tensor in weights.items() if "embed" in name)
    fields = {name: field for name, field in reader.fields.items() if not name.startswith(LEFT_OUT)}
    values = {name: field.contents() for name, field in fields.items()}
    values |= _tokens(values, names, first, vocabulary)
    for name, field in fields.items():
        value = vocabulary if name == f"{architecture}.vocab_size" else values[name]
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], inner)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    written = {
        name: _array(ours, tensor, config, architecture)
        for ours, tensor in weights.items()
        for name in [_name_of(ours, config, architecture)]
    }
    for name, array in written.items():
        writer.add_tensor(name, array)
    for tensor in reader.tensors:  # such as the factors of stretched rotary positions
        if tensor.name not in written and tensor.name != "output.weight":
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tokens(values: Mapping[str, Any], names: Sequence[str], first: int, vocabulary: int) -> dict[str, Any]:
    """The lists that describe the tokenizer's tokens, as long as the vocabulary."""
    tokens, kinds = list(values[TOKENS]), list(values[TYPES])
    gap = range(len(tokens), vocabulary)
    tokens += [f"[PAD{place}]" for place in gap]
    kinds += [UNUSED for _ in gap]
    last = first + len(names)
    tokens[first:last], kinds[first:last] = names, [OWN] * len(names)
    found: dict[str, Any] = {TOKENS: tokens, TYPES: kinds}
    if SCORES in values:
        scores = [*values[SCORES], *(0.0 for _ in gap)]
        scores[first:last] = [0.0] * len(names)
        found[SCORES] = scores
    return found


def _name_of(ours: str, config: Any, architecture: str) -> str:
    """llama.cpp's name of a weight."""
    import gguf

    kind = next(key for key, text in gguf.MODEL_ARCH_NAMES.items() if text == architecture)
    names = gguf.get_tensor_name_map(kind, int(config.num_hidden_layers))
    found = names.get_name(ours, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise InputError(f"llama.cpp has no tensor for {ours}", "leave --format out")
    return found


def _array(ours: str, tensor: Tensor, config: Any, architecture: str) -> np.ndarray:
    """A matrix in 16 bit, anything smaller in 32; rows of llama's query and key in llama.cpp's order."""
    plain = ours.removesuffix(".weight")
    if architecture == "llama" and plain.endswith(("q_proj", "k_proj")):
        is_key = plain.endswith("k_proj")
        tensor = interleaved(tensor, config.num_key_value_heads if is_key else config.num_attention_heads)
    array = tensor.float().numpy()
    return np.ascontiguousarray(array.astype(np.float16 if array.ndim > 1 else np.float32))
