"""What a folder with a language model holds, told before anything of it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.config.settings import ModelConfig
from core.errors import ModelError

INDEX = "model.safetensors.index.json"


def read_settings(folder: Path) -> dict[str, Any]:
    """The model's own settings; empty where the file is missing or damaged, which loading tells better."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def weight_files(folder: Path) -> list[Path]:
    """The files that the weights are read from, each once: not what else a repository holds them in."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        names = sorted({str(name) for name in index["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return [folder / name for name in names if (folder / name).is_file()]


def stored_weights(folder: Path) -> int:
    """About how many weights the files hold, where each takes two bytes."""
    return sum(file.stat().st_size for file in weight_files(folder)) // 2


def own_quantization(folder: Path) -> str | None:
    """How the folder's weights are quantized already: nf4, int8, or another method's name; None if not."""
    settings = read_settings(folder).get("quantization_config")
    if not isinstance(settings, dict) or not settings:
        return None
    if settings.get("load_in_4bit") and settings.get("bnb_4bit_quant_type") == "nf4":
        return "nf4"
    if settings.get("load_in_8bit"):
        return "int8"
    if settings.get("load_in_4bit"):
        return f"bitsandbytes {settings.get('bnb_4bit_quant_type', 'fp4')}"
    return str(settings.get("quant_method", "an unknown method"))


def check_folder(folder: Path, config: ModelConfig) -> None:
    """Refuses a folder whose weights cannot be used, or are not what the settings call them.

    Raises:
        ModelError: it holds an adapter, pickled weights alone, or weights that are quantized otherwise.
    """
    name = config.name
    if (folder / "adapter_config.json").is_file():
        try:
            base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
            below = str(base.get("base_model_name_or_path") or "")[:200]
        except (OSError, ValueError, AttributeError):
            below = ""
        raise ModelError(
            f"{name} is an adapter, not a language model",
            f"give --model what it belongs on{f', {below}' if below else ''}, or merge the two and save them",
        )
    pickled = sorted(file.name for file in folder.glob("*.bin") if "model" in file.name)
    if pickled and not weight_files(folder):
        raise ModelError(
            f"cannot load the model {name}: its weights are pickled ({pickled[0]}), which can run code",
            "where you trust it, load it with transformers and write it anew by save_pretrained, "
            "which makes safetensors",
        )
    already = own_quantization(folder)
    if already is None or already == config.quantize:
        return
    if already in ("nf4", "int8"):
        raise ModelError(
            f"the weights of {name} are quantized already, to {already}", f"use --quantize {already}"
        )
    raise ModelError(
        f"the weights of {name} are quantized already, by {already}, which this program does not adapt",
        "give the model's unquantized weights; --quantize nf4 or int8 quantizes them while they load",
    )
