"""A language model's shape, read from its settings alone: no weights are loaded or fetched."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.assets.spec import home
from core.config.settings import EMBEDDED, ModelConfig
from core.errors import ModelError
from core.lm.folder import in_own_words, reason_of, whole_number

NAMES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "vocab_size", "tie_word_embeddings",
)  # fmt: skip
"""What is asked of a model's settings; some families have other names for them in their files."""
EMBEDDED_SETTINGS: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
"""What the embedded model's config.json will say, for as long as the model has not been fetched."""


LOAD_FIXED, WEIGHTS_PER_SECOND, CONVERTED_PER_SECOND = 3.0, 40e6, 8e6
"""Measured on two cores: seconds for libraries and tokenizer; weights; bytes of a GGUF file."""


def load_seconds(weights: int) -> float:
    """About how long it takes to load a model of so many weights."""
    return LOAD_FIXED + weights / WEIGHTS_PER_SECOND


def convert_seconds(gguf: Path) -> float:
    """About how long it takes to convert a GGUF file."""
    return LOAD_FIXED + gguf.stat().st_size / CONVERTED_PER_SECOND


def converted_folder(config: ModelConfig) -> Path:
    """Where the safetensors of the embedded model, or of a GGUF file, are or will be.

    Raises:
        OSError: there is no such GGUF file.
    """
    if config.is_embedded:
        return home() / "models" / f"{EMBEDDED}-safetensors"
    path = Path(config.name).expanduser()
    stat = path.stat()
    return home() / "models" / f"{path.stem}-{stat.st_size}-{stat.st_mtime_ns}"


def settings_folder(config: ModelConfig) -> Path | None:
    """Where the model's config.json is; None for an embedded model or a GGUF file that is not converted yet.

    Raises:
        ModelError: there is no such model, or the hub cannot be reached.
    """
    path = Path(config.name).expanduser()
    if config.is_embedded or path.suffix == ".gguf":
        try:
            folder = converted_folder(config)
        except OSError as error:
            raise ModelError(f"no such GGUF file: {path}", "check the path given to --model") from error
        return folder if (folder / "config.json").is_file() else None
    return path if path.is_dir() else _hub_folder(config)


def check_hub_name(name: str) -> None:
    """Raises `ModelError` where a name that is no folder cannot be one of the hub either."""
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ModelError(f"no such model folder: {name}", "check the path given to --model")


def _hub_folder(config: ModelConfig) -> Path:
    check_hub_name(config.name)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(config.name, "config.json", revision=config.revision)).parent
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"cannot fetch the settings of {config.name}: {reason_of(error)}",
            "give --model a hub name that can be reached, or a local folder",
        ) from error


def resolved_commit(config: ModelConfig) -> str | None:
    """The commit that a fetched hub model is of; None for a model that is no hub model, or not fetched."""
    from huggingface_hub import snapshot_download

    if config.is_embedded or config.name.endswith(".gguf") or Path(config.name).expanduser().exists():
        return None
    try:
        folder = snapshot_download(config.name, revision=config.revision, local_files_only=True)
    except (OSError, ValueError):
        return None
    commit = Path(folder).name
    return commit if re.fullmatch("[0-9a-f]{40}", commit) else None


def model_settings(config: ModelConfig) -> dict[str, Any]:
    """The settings of the model's decoder, as its config.json has them.

    Raises:
        ModelError: there is no such model, the hub cannot be reached, or the file says no shape.
    """
    folder = settings_folder(config)
    if folder is None:
        return EMBEDDED_SETTINGS if config.is_embedded else _gguf_settings(Path(config.name).expanduser())
    return _decoder_settings(folder / "config.json", lambda kind: kind.from_pretrained(folder))


def _decoder_settings(path: Path, read: Callable[[Any], Any]) -> dict[str, Any]:
    """The settings of a decoder, under the names that most families use."""
    from transformers import AutoConfig

    from core.lm.loading import quiet

    with in_own_words(f"{path} does not describe a language model", "give a causal language model"):
        with quiet():
            found = read(AutoConfig).get_text_config()
        known: dict[str, Any] = {name: getattr(found, name, None) for name in NAMES}
        _ = found.model_type, int(known["hidden_size"]), int(known["num_hidden_layers"])
    settings: dict[str, Any] = found.to_dict()
    return {**settings, **{name: value for name, value in known.items() if value is not None}}


def _gguf_settings(path: Path) -> dict[str, Any]:
    """The settings that a GGUF file states."""
    return _decoder_settings(path, lambda kind: kind.from_pretrained(path.parent, gguf_file=path.name))


def layer_weights(settings: dict[str, Any]) -> int:
    """Weights in the linear layers of one transformer layer."""
    width = int(settings["hidden_size"])
    inner = whole_number(settings.get("intermediate_size")) or 4 * width
    heads = whole_number(settings.get("num_attention_heads")) or 1
    head = whole_number(settings.get("head_dim")) or width // heads
    keys = whole_number(settings.get("num_key_value_heads")) or heads
    return 2 * width * head * heads + 2 * width * head * keys + 3 * width * inner


def weights(settings: dict[str, Any]) -> int:
    """Weights of a whole model, its norms left out."""
    words = whole_number(settings.get("vocab_size")) * int(settings["hidden_size"])
    embeddings = words * (1 if settings.get("tie_word_embeddings") else 2)
    return embeddings + int(settings["num_hidden_layers"]) * layer_weights(settings)
