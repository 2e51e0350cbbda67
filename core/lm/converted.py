"""A model converted for the cache, and whether it is still what was written: a damaged one is made anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from core.errors import DataError
from core.files import sha256_of_file
from core.records import json_of, read_text

NOTE = "converted.json"
"""Per file: size, time of change and checksum."""


def convert(gguf: Path, folder: Path) -> None:
    """Dequantizes a GGUF file into a bf16 safetensors folder.

    The weights must leave the packed GGUF form, or they can neither be saved nor trained.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from core.lm.loading import quiet

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            trust_remote_code=False,
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
        model.bfloat16().save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def note_files(folder: Path) -> None:
    """Writes down what a conversion made; the folder counts as whole from then on."""
    files = {file.name: {**_looks(file), "sha256": sha256_of_file(file)} for file in sorted(folder.iterdir())}
    (folder / NOTE).write_text(json.dumps(files, indent=1), encoding="utf-8")


def is_whole(folder: Path) -> bool:
    """Whether a converted model is there and unchanged; a file that was touched is hashed again.

    A folder of an earlier version has no note: its weights must at least open.
    """
    if not (folder / "config.json").is_file():
        return False
    if not (folder / NOTE).exists():
        return all(map(_opens, folder.glob("*.safetensors")))
    try:
        noted = json_of(read_text(folder / NOTE), NOTE)
        return all(_is_same(folder / name, looks) for name, looks in noted.items())
    except (DataError, OSError, AttributeError, KeyError, TypeError):
        return False


def _is_same(file: Path, noted: dict[str, Any]) -> bool:
    looks = _looks(file)
    if looks["size"] != noted["size"]:
        return False
    return bool(looks["mtime_ns"] == noted["mtime_ns"] or sha256_of_file(file) == noted["sha256"])


def _looks(file: Path) -> dict[str, int]:
    status = file.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _opens(file: Path) -> bool:
    try:
        with safe_open(file, "pt"):
            return True
    except (SafetensorError, OSError):
        return False
