"""Times a few layers of a language model's shape, frozen and random, on rows as long as the real ones."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.config.settings import AdapterConfig, ModelConfig
from core.ilora.attaching import attach_adapter
from core.ilora.layers import adapt_layers
from core.lm.checking import find_reading
from core.lm.decoder import EndReader, decoder_view, run_decoder
from core.lm.doctor import quantized_linear
from core.lm.folder import whole_number
from core.lm.loading import LanguageModel, disable_cpu_packing, pick_device, quiet
from core.lm.norms import replace_norms
from core.lm.precision import pick_dtype
from core.lm.prompts import Packed, TokenRun, pack
from core.lm.shape import layer_weights
from core.lm.views import run_view

LAYERS = 2
LARGEST = 8_000_000
"""Weights of a timed layer on a CPU: larger ones are timed at a fraction of their width."""
VOCABULARY = 4096
"""Words of the timed part of the output layer."""
REPEATS, ENOUGH = 3, 0.15
"""A piece of work is timed so often, or until so many seconds went by; the best time counts."""


@dataclass(frozen=True)
class Rows:
    """How long the rows are that a model reads, in tokens."""

    title: float
    """A title with its slot."""
    text: int
    """The listwise prompt's own words."""
    words: int
    """The paper's prompt without its titles."""
    history: int
    """Items."""
    candidates: int
    """Of a test case."""

    def listwise(self, candidates: int, rows: int = 1) -> Packed:
        """Rows of the listwise prompt."""
        return _packed(self.text + self.history * self.title, candidates, self.title, rows)

    def item_tokens(self, rows: int = 1) -> Packed:
        """Rows of the prompt in which each title is followed by its item's token."""
        return _packed(self.text + self.history * (self.title + 1), 1, 1.0, rows)

    def answers(self, answers: int, rows: int = 1) -> Packed:
        """Rows of the paper's prompt with so many answers to be scored."""
        prefix = self.words + (self.history + self.candidates) * self.title
        return _packed(prefix, answers, self.title, rows)


def _packed(prefix: float, branches: int, title: float, rows: int) -> Packed:
    ends = np.round(np.arange(branches + 1) * title).astype(int)
    own = [TokenRun(np.zeros(max(1, int(length)), dtype=np.int64)) for length in np.diff(ends)]
    return pack([[TokenRun(np.zeros(max(1, round(prefix)), dtype=np.int64))]] * rows, [own] * rows)


def best(work: Callable[[], object]) -> float:
    """Seconds that it takes, once it is warm."""
    first = _once(work)
    if first > ENOUGH:  # what is warmed up by then hardly shows
        return first
    found, begun = math.inf, time.perf_counter()
    for _ in range(REPEATS):  # the best of some: other work on the machine comes and goes
        found = min(found, _once(work))
        if time.perf_counter() - begun > ENOUGH:
            break
    return found


def _once(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


class FrozenLayers:
    """A few layers of a model's shape, quantized as the model will be; times are of one whole layer.

    Args:
        settings: the model's, from `core.lm.shape`.
        config: how it is quantized, and computed in what.
        rows: how many rows are read at once.
    """

    def __init__(self, settings: dict[str, Any], config: ModelConfig, rows: int) -> None:
        self.rows, self.device = rows, pick_device(config.quantize)
        self.dtype = pick_dtype(self.device, config.precision)
        self.depth = int(settings["num_hidden_layers"])
        self.width, self.vocabulary = int(settings["hidden_size"]), whole_number(settings.get("vocab_size"))
        cut, self.scale = _narrowed(settings, self.device)
        model = _random_model(cut, self.device, self.dtype)
        whole = LanguageModel(model.eval(), None, config.name, "none", self.device, self.dtype)  # type: ignore[arg-type]
        self.packed = find_reading(whole).packed
        quantize(model, config.quantize, self.device, self.dtype)
        disable_cpu_packing(model)
        model.requires_grad_(False).eval()
        replace_norms(model)
        self.llm = LanguageModel(model, None, config.name, config.quantize, self.device, self.dtype)  # type: ignore[arg-type]
        self.decoder, self.is_adapted = self.llm.decoder, False

    def adapt(self, config: AdapterConfig) -> None:
        """Puts an adapter onto the layers, once; what is timed before is without one."""
        if not self.is_adapted:
            adapt_layers(attach_adapter(self.llm, config, 0), None)
        self.is_adapted = True

    @torch.no_grad()
    def reading(self, packed: Packed) -> float:
        """Seconds a row for one layer, forward, every token read."""
        view, hidden = (
            decoder_view(self.decoder, 0, LAYERS, norm=False, packed=self.packed),
            self._states(packed),
        )
        return self._each(best(lambda: run_decoder(view, hidden, packed))) / LAYERS

    def ranking(self, packed: Packed, layers: int) -> float:
        """Seconds a row for so many layers, forward, read at the branches' ends."""
        with torch.no_grad():
            return self._at_ends(packed, layers, lambda read, hidden: read(hidden, packed))

    def training(self, packed: Packed, layers: int) -> float:
        """Seconds a row for so many layers, forward and backward, read at the branches' ends."""

        def step(read: EndReader, hidden: Tensor) -> None:
            read(hidden.requires_grad_(), packed).float().sum().backward()  # type: ignore[no-untyped-call]

        return self._at_ends(packed, layers, step)

    def training_whole(self, packed: Packed) -> float:
        """Seconds a row for one layer, forward and backward, every token read."""
        view = decoder_view(self.decoder, 0, LAYERS, norm=False, packed=self.packed)
        hidden = self._states(packed).requires_grad_()
        return self._each(best(lambda: run_decoder(view, hidden, packed).float().sum().backward())) / LAYERS  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def writing(self) -> float:
        """Seconds a row for one token more in one layer."""
        view = decoder_view(self.decoder, 0, LAYERS, norm=False, packed=self.packed)
        hidden = torch.zeros(self.rows, 1, self.llm.width, dtype=self.dtype, device=self.device)
        return self._each(best(lambda: run_view(view, hidden))) / LAYERS

    @torch.no_grad()
    def predicting(self, positions: int) -> float:
        """Seconds for the output layer's answers at so many positions."""
        words = min(VOCABULARY, self.vocabulary or VOCABULARY)
        states = torch.ones(min(positions, 128), self.width, dtype=self.dtype, device=self.device)
        table = torch.ones(words, self.width, dtype=self.dtype, device=self.device)
        taken = best(lambda: torch.log_softmax(nn.functional.linear(states, table).float(), -1))
        return taken * positions / len(states) * max(1.0, self.vocabulary / words)

    def _at_ends(self, packed: Packed, layers: int, work: Callable[[EndReader, Tensor], object]) -> float:
        """The last layer is cheaper than the others, so that two depths are timed."""
        hidden = self._states(packed)
        last, all_of_them = (
            best(lambda view=view: work(view, hidden))  # type: ignore[misc]
            for view in (
                EndReader(decoder_view(self.decoder, LAYERS - 1, LAYERS, norm=True, packed=self.packed)),
                EndReader(decoder_view(self.decoder, 0, LAYERS, norm=True, packed=self.packed)),
            )
        )
        between = max(0.0, all_of_them - last) / (LAYERS - 1)
        return self._each(last + (layers - 1) * between)

    def _each(self, seconds: float) -> float:
        return seconds * self.scale / self.rows

    def _states(self, packed: Packed) -> Tensor:
        shape = (*packed.tokens.shape, self.llm.width)
        return torch.randn(shape, device=self.device).to(self.dtype)


def _narrowed(settings: dict[str, Any], device: torch.device) -> tuple[dict[str, Any], float]:
    """Settings of a few layers, on a CPU of a fraction of the width; and the factor of their cost."""
    cut = {
        **settings,
        "num_hidden_layers": LAYERS,
        "vocab_size": 64,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), None),
    }
    if cut.get("layer_types"):
        cut["layer_types"] = list(cut["layer_types"])[:LAYERS]
    if "intermediate_size" not in cut or "num_attention_heads" not in cut:
        return cut, 1.0
    heads = int(settings["num_attention_heads"])
    cut["head_dim"] = int(settings.get("head_dim") or int(settings["hidden_size"]) // heads)
    whole, by = layer_weights(settings), 1
    while device.type == "cpu" and layer_weights(cut) > LARGEST:
        by *= 2
        keys = max(1, int(settings.get("num_key_value_heads") or heads) // by)
        cut["num_key_value_heads"], cut["num_attention_heads"] = keys, keys * max(1, heads // by // keys)
        cut["hidden_size"] = int(settings["hidden_size"]) // by
        cut["intermediate_size"] = int(settings["intermediate_size"]) // by
    return cut, whole / layer_weights(cut)


def _random_model(settings: dict[str, Any], device: torch.device, dtype: torch.dtype) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    given = {
        key: value
        for key, value in settings.items()
        if key not in ("quantization_config", "transformers_version")
    }
    config = AutoConfig.for_model(given.pop("model_type"), **given)
    with quiet(), torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]


def quantize(model: nn.Module, kind: str, device: torch.device, dtype: torch.dtype) -> None:
    """Holds the layers' linear weights as a quantization does."""
    output: Any = model.get_output_embeddings()  # type: ignore[operator]
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not output
    ]
    for name, module in found if kind != "none" else ():
        parent, _, own = name.rpartition(".")
        made = quantized_linear(kind, module.weight.detach(), device, dtype)
        setattr(model.get_submodule(parent), own, made)


def mean_length(lengths: Sequence[int]) -> float:
    """The mean of some lengths; 1 where there are none."""
    return float(np.mean(lengths)) if len(lengths) else 1.0
