"""The language model: finds it, loads it in 4 bit, 8 bit or whole, on a CPU or a GPU, ready for adapters."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from torch import Tensor, nn

from core.assets.known import embedded_model_file
from core.config.settings import EMBEDDED, ModelConfig
from core.errors import ModelError
from core.events import Emit, Notice, never, silent
from core.files import atomic_path, remove_whole
from core.hardware import address_space, giving_back, group_memory
from core.lm.converted import convert, is_whole, note_files
from core.lm.decoder import stop_between_layers
from core.lm.folder import (
    check_folder,
    in_own_words,
    own_quantization,
    read_settings,
    reason_of,
    stored_weights,
    weight_files,
    whole_number,
)
from core.lm.precision import pick_dtype, resolved
from core.lm.shape import check_hub_name, convert_seconds, converted_folder, load_seconds
from core.lm.structure import decoder_of, run_head
from core.stages import UNWATCHED, Watch
from core.training import parallel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BYTES_PER_WEIGHT = {"nf4": 0.55, "int8": 1.05}
"""Memory of a quantized linear weight with its statistics; all others take the precision's bytes."""
LOADING = 2**29
"""Bytes that loading on a CPU takes beside the weights: libraries, and weights on their way.

Measured: 0.15 GiB, and what libraries not loaded before take (`tests/lm/test_loading_memory.py` prints it).
"""


@dataclass(frozen=True)
class Reading:
    """How a model can be read rightly; `core.lm.checking` finds it out."""

    split: bool = True
    """Whether its lower layers may run by themselves, before the upper ones and apart from them."""
    packed: bool = True
    """Whether several candidates may share a row, each hidden from the others by the mask."""


@dataclass(frozen=True)
class LanguageModel:
    """A loaded causal language model whose weights are frozen."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    quantization: str
    device: torch.device
    dtype: torch.dtype
    reading: Reading = Reading()

    @property
    def width(self) -> int:
        """Length of a hidden state."""
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def decoder(self) -> nn.Module:
        """The transformer without its output layer."""
        return decoder_of(self.model)

    def logits(self, states: Tensor) -> Tensor:
        """(n, vocabulary) of (n, width) last states, by the model's own code: scaled or capped as it does."""
        return run_head(self.model, states)

    @property
    def depth(self) -> int:
        """Number of transformer layers."""
        return int(self.model.config.get_text_config().num_hidden_layers)


def pick_device(quantize: str = "nf4") -> torch.device:
    """The CUDA device of this process, where there is one; Apple's for unquantized weights; else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if quantize == "none" and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def settle_precision(config: ModelConfig, emit: Emit = silent) -> ModelConfig:
    """The same model with the precision that `auto` means on this machine.

    Raises:
        InputError: the device cannot compute in the precision asked for.
    """
    return resolved(config, pick_device(config.quantize), emit)


def load_llm(config: ModelConfig, watch: Watch = UNWATCHED) -> LanguageModel:
    """Loads a causal language model with frozen weights, in evaluation mode, as it is.

    Whoever scores with it calls `core.lm.checking.load_checked` instead. A model that the processes are to
    share is left in main memory, for `core.lm.sharding.shard_layers` to move.

    Args:
        config: which model, which revision, how quantized.
        watch: receives download progress and notices; whoever stops it also stops the model between two
            of its layers, whatever it is doing then.

    Raises:
        ModelError: the model cannot be found, does not fit in memory, or the quantization cannot run here.
        Interrupted: the watch asked to stop.
    """
    device = pick_device(config.quantize)
    dtype = pick_dtype(device, config.precision)
    folder = check_model(config, watch)
    place = (
        torch.device("cpu") if parallel.is_sharded() else device
    )  # no device may be able to hold all of it
    seconds = load_seconds(stored_weights(folder))
    model, tokenizer = _waited(watch, "load", lambda: _load(folder, config, place, dtype), seconds)
    if watch.should_stop is not never and parallel.announced() == 1:
        stop_between_layers(decoder_of(model), watch.should_stop)
    disable_cpu_packing(model)
    model.requires_grad_(False)
    model.eval()
    if config.quantize != "none":
        leave_the_file(model)
    name = EMBEDDED if config.is_embedded else config.name
    return LanguageModel(model, tokenizer, name, config.quantize, device, dtype)


def check_model(config: ModelConfig, watch: Watch = UNWATCHED) -> Path:
    """Finds a model, fetches it if it is the embedded one, and says where it is, without loading it.

    Raises:
        ModelError: it cannot be found, is no model or quantized otherwise, or does not fit in memory.
    """
    folder = resolve_model(config, watch)
    check_folder(folder, config)
    check_memory(folder, config, pick_device(config.quantize))
    return folder


def resolve_model(config: ModelConfig, watch: Watch = UNWATCHED) -> Path:
    """The folder that transformers can load the model from.

    A hub model is fetched; the embedded model and GGUF files are converted to safetensors once and cached.
    """
    if config.is_embedded:
        return _converted(lambda: embedded_model_file(watch.emit), converted_folder(config), watch)
    path = Path(config.name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"no such GGUF file: {path}", "check the path given to --model")
        return _converted(lambda: path, converted_folder(config), watch)
    if path.is_dir():
        if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise ModelError(
                f"{path} holds no config.json", "give a folder written by save_pretrained, or a GGUF file"
            )
        return path
    check_hub_name(config.name)
    fetched: Path = _waited(watch, "fetch", lambda: _from_hub(config), 0.0)
    return fetched


HUB_FILES = ("*.json", "model.safetensors", "model-*.safetensors", "*.model", "*.txt", "*.jinja")
"""What is fetched of a hub model: settings, tokenizer, and weights that cannot carry code, once."""


def _from_hub(config: ModelConfig) -> Path:
    """The local snapshot of a hub model, fetched on first use, so that its size is known before it is loaded.

    Raises:
        ModelError: there is no such model or revision, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(config.name, revision=config.revision, allow_patterns=list(HUB_FILES)))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise ModelError(
            f"cannot fetch the model {config.name} ({config.revision}): {reason_of(error)}",
            "give --model a hub name that can be reached, a local folder, a GGUF file, or leave it out",
        ) from error


def _converted(source: Callable[[], Path], folder: Path, watch: Watch) -> Path:
    """The cached safetensors folder of a GGUF file, made on first use."""
    if is_whole(folder):
        return folder
    gguf = source()
    with watch.alone(folder.with_name(f"{folder.name}.lock"), f"converting {gguf.name}"):
        if is_whole(folder):
            return folder
        if folder.exists():
            watch.emit(Notice(f"{folder} is damaged and is made anew", "warning"))
            remove_whole(folder)
        watch.emit(Notice(f"converting {gguf.name} to safetensors, once"))
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            hint = "check that the file is whole and the disk is not full"
            with in_own_words(f"cannot convert {gguf}", hint):
                _waited(watch, "convert", lambda: convert(gguf, temporary), convert_seconds(gguf))
                note_files(temporary)
    return folder


def _waited(watch: Watch, stage: str, work: Callable[[], Any], seconds: float) -> Any:
    """Watched work; several processes stop together or not at all, and do theirs unwatched."""
    return watch.wait(stage, work, seconds) if parallel.announced() == 1 else watch.silently(stage, work)


def _load(folder: Path, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {
        "dtype": dtype,
        "trust_remote_code": False,
        "use_safetensors": True,
        "device_map": {"": device},
    }
    if config.quantize != "none" and own_quantization(folder) is None:
        options["quantization_config"] = _quantization(config, device, dtype)
    hint = "give --model a hub name that can be reached, a local folder, a GGUF file, or leave it out"
    with in_own_words(f"cannot load the model {config.name}", hint), quiet(), giving_back():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(folder, **options)
    for module in model.modules() if own_quantization(folder) == "nf4" else ():
        if hasattr(module, "compute_dtype"):  # the file names whoever made it wanted
            vars(module).update(compute_dtype=dtype, compute_type_is_set=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    _settle(tokenizer, model, config.name)
    return model, tokenizer


def _settle(tokenizer: Any, model: Any, name: str) -> None:
    """Lets a text have the same tokens each time, and refuses a token that the model has no embedding of."""
    cut: Any = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    if getattr(cut, "dropout", None):
        cut.dropout = None
    embedding = model.get_input_embeddings()
    rows = embedding.weight.shape[0]

    def check(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        if given and (most := int(given[0].max())) >= rows:
            raise ModelError(
                f"the tokenizer of {name} makes token {most}, and the model has {rows:,} tokens",
                "one of the two belongs to another model: get them anew, from one place",
            )

    if len(tokenizer) > rows:  # which is harmless where no text has one of them
        embedding.register_forward_pre_hook(check)


def _quantization(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> Any:
    """bitsandbytes settings: NF4 with double quantization, or LLM.int8()."""
    try:
        import bitsandbytes  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        raise ModelError(
            f"--quantize {config.quantize} needs bitsandbytes, which does not load here: {error}",
            "use --quantize none",
        ) from error
    if device.type not in {"cpu", "cuda"}:
        raise ModelError(f"--quantize {config.quantize} does not run on {device.type}", "use --quantize none")
    from transformers import BitsAndBytesConfig

    if config.quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def disable_cpu_packing(model: nn.Module) -> int:
    """Keeps bitsandbytes from repacking 4-bit weights on AVX512-BF16 CPUs; returns how many it guarded.

    A repacked layer, back in training mode, gives no gradient to its input, so that everything below it
    stops learning with no more than a warning.
    """
    guarded = 0
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            vars(module)["support_avx512bf16_for_cpu"] = False
            guarded += 1
    return guarded


def leave_the_file(model: nn.Module) -> None:
    """Copies what a quantized model still reads from the mapped file: embeddings and norms.

    A single weight that lies in the file would keep all of it resident.
    """
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and parameter.is_floating_point():
            parameter.data = parameter.data.clone()


def estimate_bytes(folder: Path, config: ModelConfig, shares: int = 1) -> int | None:
    """Bytes that the loaded weights will take, or None where the folder does not tell.

    Linear weights shrink with the quantization, embeddings and norms stay in the precision computed in. Of a
    model sharded over several processes, each holds a share of the layers and all embeddings.
    """
    each = pick_dtype(pick_device(config.quantize), config.precision).itemsize
    try:
        stored = sum(file.stat().st_size for file in weight_files(folder))
    except OSError:
        return None
    settings = read_settings(folder)
    if not stored or not settings:
        return None
    if own_quantization(folder) is not None:
        return int(stored)
    weights = stored / (4 if settings.get("dtype", settings.get("torch_dtype")) == "float32" else 2)
    embeddings = whole_number(settings.get("vocab_size")) * whole_number(settings.get("hidden_size"))
    if not settings.get("tie_word_embeddings", False):
        embeddings *= 2
    embeddings = min(embeddings, int(weights))
    linear = BYTES_PER_WEIGHT.get(config.quantize, each)
    return int(each * embeddings + linear * (weights - embeddings) / shares)


def check_memory(folder: Path, config: ModelConfig, device: torch.device) -> None:
    """Refuses, before loading, a model whose weights cannot fit in free memory.

    Raises:
        ModelError: the estimate (weights, a fifth for work, and what loading takes) exceeds what is free.
    """
    shares = parallel.size() if parallel.is_sharded() and device.type == "cuda" else 1
    needed = estimate_bytes(folder, config, shares)
    if needed is None:
        return
    needed = int(needed * 1.2)
    free = torch.cuda.mem_get_info()[0] if device.type == "cuda" else free_memory()
    if device.type == "cpu":
        needed += LOADING
        room = address_space()
        mapped = sum(file.stat().st_size for file in weight_files(folder))
        if room is not None and needed + mapped > room:  # the file is mapped whole while it is read
            needed, free = needed + mapped, min(free, room)
    if needed > free:
        other = "a smaller --model" if config.quantize == "nf4" else "--quantize nf4 or a smaller --model"
        raise ModelError(
            f"{config.name} at --quantize {config.quantize} needs about {needed / 2**30:.1f} GiB to load and "
            f"{free / 2**30:.1f} GiB are free",
            f"choose {other}",
        )


def free_memory() -> int:
    """Bytes of main memory that a new model could take, within the limits set for this process."""
    rooms = [int(psutil.virtual_memory().available), group_memory(), address_space()]
    return max(0, min(room for room in rooms if room is not None))


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the libraries' progress bars and start-up chatter while a model loads; errors still rise."""
    from transformers.utils import logging as library

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    level = library.get_verbosity()
    library.set_verbosity_error()  # type: ignore[no-untyped-call]
    library.disable_progress_bar()  # type: ignore[no-untyped-call]
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            library.set_verbosity(level)
