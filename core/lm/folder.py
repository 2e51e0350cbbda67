"""What a folder with a language model holds, told before anything of it is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.config.bounds import brief
from core.config.settings import ModelConfig
from core.errors import DataError, IloraError, Interrupted, ModelError
from core.files import LARGEST_RESULT as LARGEST_INDEX
from core.records import read_text
from core.safe_text import plain

INDEX = "model.safetensors.index.json"
MOST_PARTS = 4096
"""Layers, or experts in a layer, of the largest model that is believed."""
_ANEW = "the file is damaged: fetch the model anew"


def read_settings(folder: Path) -> dict[str, Any]:
    """The model's own settings; empty where the file is missing or damaged, which loading tells better."""
    return _record(folder / "config.json")


def _record(file: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where it is missing, damaged, or holds no record."""
    try:
        found = json.loads(read_text(file, LARGEST_INDEX))  # some say Infinity, as JSON itself cannot
    except (DataError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def reason_of(error: BaseException) -> str:
    """What a library complains about, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return plain(" ".join(lines[: 2 if lines[0].endswith(":") else 1])[:300])


@contextmanager
def in_own_words(title: str, hint: str) -> Iterator[None]:
    """Turns whatever a library makes of a stranger's files, of any type, into one line.

    Raises:
        ModelError: with the title and what the library complained about; out of memory says only that.
    """
    try:
        yield
    except (IloraError, Interrupted):
        raise
    except Exception as error:  # tokenizers raises no narrower one
        from core.hardware import is_out_of_memory  # psutil: not at every start

        if is_out_of_memory(error):
            raise ModelError("out of memory: " + title, "choose a smaller --model, or free memory") from error
        raise ModelError(f"{title}: {reason_of(error)}", hint) from error


def whole_number(value: object) -> int:
    """A number that settings state; 0 where what stands there is none."""
    return value if isinstance(value, int) and 0 <= value < 1 << 40 else 0


def weight_files(folder: Path) -> list[Path]:
    """The files that the weights are read from, each once: not what else a repository holds them in."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    listed = _record(folder / INDEX).get("weight_map")
    names = sorted({str(name) for name in listed.values()}) if isinstance(listed, dict) else []
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


def _check_settings(folder: Path, name: str) -> None:
    """Refuses settings too long to be read, or of a model that would take for ever to be put together."""
    for file in (folder / "config.json", folder / INDEX):
        if file.is_file() and file.stat().st_size > LARGEST_INDEX:
            raise ModelError(f"{file.name} of {name} is no list of settings: it is too long", _ANEW)
    settings = read_settings(folder)
    for part in (settings, *(value for value in settings.values() if isinstance(value, dict))):
        for key, value in part.items():
            if re.search("layers?$|experts?$", str(key)) and isinstance(value, int) and value > MOST_PARTS:
                raise ModelError(f"config.json of {name} says {str(key)[:40]} = {brief(value)}", _ANEW)


def check_folder(folder: Path, config: ModelConfig) -> None:
    """Refuses a folder whose weights cannot be used, or are not what the settings call them.

    Raises:
        ModelError: it holds an adapter, pickled weights alone, or weights that are quantized otherwise.
    """
    name = config.name
    _check_settings(folder, name)
    if (folder / "adapter_config.json").is_file():
        below = str(_record(folder / "adapter_config.json").get("base_model_name_or_path") or "")[:200]
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
