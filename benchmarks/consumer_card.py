"""What one card of 24, 16 or 12 GB can do with an 8-billion model: speed, memory, and how near the bound.

    python benchmarks/consumer_card.py [--caps 24,16,12] [--layers 0,16] [--steps 6] [--json FILE]
    python benchmarks/consumer_card.py --shape tiny --caps 0 --steps 1      # tries the script on a CPU

The model has the shape of Llama-3.1-8B and random weights, made layer by layer on the card in NF4: for time
and memory it does not matter what weights say. Rows are MovieLens-100K's, in the embedded model's tokens.
Each cap of memory and each number of adapted layers (0: all) is a process of its own, so that one that runs
out of memory says so and the next goes on. In each:

- training, listwise and language-model, LoRA and iLoRA: samples and tokens a second of a step (forward, loss,
  backward, clipping, AdamW), with layers run again in the backward pass, and the peak of memory. The
  micro-batch is halved until a step fits;
- the same listwise LoRA training by plain peft and transformers, on the same rows;
- ranking 20 candidates of four users in a packed pass, adapter and gate included;
- the bound: multiplications of the frozen weights over what a large product of the same precision reaches
  here. A token costs 2 operations a weight to read; training twice that in the adapted layers, and once
  more where layers run again; and no pass can be faster than reading all weights once from memory.

Tokens are those that the lowest adapted layer is given, padding included. Medians over the steps.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from peers import PlainPeft
from ratios import asking, ranking
from torch import nn
from training_step import Batch, Stepper, make_batches, untrained_encoder

from core.config.presets import preset_config, with_overrides
from core.config.settings import ModelConfig
from core.data.card_files import load_card
from core.data.loading import load_task_data
from core.data.types import Dataset, Samples
from core.hardware import describe, is_out_of_memory, most_memory
from core.ilora.model import AdaptedModel
from core.lm.doctor import quantized_linear, weight_bytes
from core.lm.loading import LanguageModel, check_model, disable_cpu_packing, pick_device
from core.lm.precision import name_of, pick_dtype
from core.lm.prompts import ListwisePrompt
from core.lm.structure import layers_of

SHAPES: dict[str, dict[str, Any]] = {
    "llama-3.1-8b": {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
    },
    "tiny": {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 49152, "max_position_embeddings": 4096,
    },
}  # fmt: skip
"""Name -> sizes, without a tied output layer."""
MICRO_BATCH = 8
"""Samples in one pass, to begin with."""


@dataclass(frozen=True)
class Measured:
    """One line of the table."""

    what: str
    layers: int
    cap_gb: float
    micro_batch: int
    samples_per_second: float
    tokens_per_second: float
    peak_gb: float
    of_bound: float
    """Share of the speed that the bound allows."""


def random_model(shape: str, device: torch.device, dtype: torch.dtype) -> Any:
    """A Llama of this shape with random weights, linear ones in NF4, made layer by layer on the device."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    settings = LlamaConfig(**SHAPES[shape], tie_word_embeddings=False)
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(settings)
    torch.manual_seed(0)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name != "lm_head":
            size, scale = module.weight.shape, module.in_features**-0.5
            weight = torch.randn(size, device=device, dtype=dtype) * scale
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, quantized_linear("nf4", weight, device, dtype))
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                plain = torch.randn if parameter.ndim == 2 else torch.ones
                made = plain(parameter.shape, device=device, dtype=dtype)
                scale = parameter.shape[-1] ** -0.5 if parameter.ndim == 2 else 1.0
                setattr(module, name, nn.Parameter(made * scale, requires_grad=False))
    model.model.rotary_emb = LlamaRotaryEmbedding(settings).to(device)
    return model.requires_grad_(False).eval()


def language_model(shape: str, precision: str) -> LanguageModel:
    """The random model with the embedded one's tokenizer."""
    from transformers import AutoTokenizer

    device = pick_device()
    dtype = pick_dtype(device, precision)
    tokenizer = AutoTokenizer.from_pretrained(check_model(ModelConfig()), trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = random_model(shape, device, dtype)
    disable_cpu_packing(model)
    return LanguageModel(model, tokenizer, f"random {shape}", "nf4", device, dtype)


def settled() -> None:
    """Waits for the card."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak() -> float:
    """The most memory held so far, in GB: of the card, or of this process where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return most_memory() / 1e9


@contextmanager
def counted(llm: LanguageModel, lowest: int) -> Iterator[list[int]]:
    """Notes the tokens of each call of the lowest adapted layer, without runs in the backward pass."""
    seen: list[int] = []

    def note(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        states = given[0] if given else named["hidden_states"]
        if torch._C._current_graph_task_id() == -1:  # not in a backward pass
            seen.append(int(states.shape[0] * states.shape[1]))

    handle = layers_of(llm.decoder)[lowest].register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


class Bound:
    """What the card could do at most: its rate of multiplying and of reading memory, as measured here."""

    def __init__(self, llm: LanguageModel, shape: str, layers: int) -> None:
        self.device, self.dtype = llm.device, llm.dtype
        wide = min(4096, 64 * SHAPES[shape]["hidden_size"])
        a, b = (torch.randn(wide, wide, device=self.device, dtype=self.dtype) for _ in range(2))
        self.rate = 2 * wide**3 / self._fastest(lambda: a @ b)
        """Operations a second."""
        self.bandwidth = 2 * a.nbytes / self._fastest(lambda: b.copy_(a))
        """Bytes a second, read and written."""
        depth = SHAPES[shape]["num_hidden_layers"]
        linear = sum(
            module.in_features * module.out_features
            for layer in layers_of(llm.decoder)
            for module in layer.modules()
            if isinstance(module, nn.Linear)
        )
        self.weights = linear * (layers or depth) // depth
        """Weights that a token meets in the adapted layers."""
        self.bytes = sum(weight_bytes(layer) for layer in layers_of(llm.decoder)[depth - (layers or depth) :])

    def _fastest(self, work: Callable[[], object], times: int = 8) -> float:
        """Seconds of the fastest of some calls."""
        found = []
        for _ in range(times):
            settled()
            started = time.perf_counter()
            work()
            settled()
            found.append(time.perf_counter() - started)
        return float(min(found))

    def tokens_per_second(self, passes: float, tokens: float) -> float:
        """Of work that goes through the weights so many times with so many tokens at once."""
        multiplying: float = passes * 2 * self.weights / self.rate
        return 1.0 / max(multiplying, passes * self.bytes / self.bandwidth / tokens)


class Bench:
    """Everything that one process measures."""

    def __init__(self, shape: str, cap: float, layers: int, steps: int) -> None:
        self.shape, self.cap, self.layers, self.steps = shape, cap, layers, steps
        config = preset_config("paper")
        self.config = with_overrides(
            config,
            data={"spread_positions": 3},
            adapter={"layers": layers, "dropout": 0.0},  # as `quick`: dropout is another path through peft
            training={"batch_size": 16, "curriculum": False},
            answering={"protocol": "rank"},
        )
        self.dataset: Dataset
        self.samples: Samples
        self.dataset, self.samples = load_task_data(self.config.data)
        self.found: list[Measured] = []

    def run(self) -> list[Measured]:
        """All lines, each printed as soon as it is known; one that does not fit is said and left out."""
        for objective in ("listwise", "language-model"):
            for gated in (False, True):
                name = f"train {'iLoRA' if gated else 'LoRA'}, {objective}"
                self._guarded(name, lambda o=objective, g=gated, n=name: self._adapted(o, g, n))  # type: ignore[misc]
        self._guarded("train LoRA, listwise, by peft", self._peft)
        return self.found

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            print(f"{name}: does not fit in {self.cap:g} GB", flush=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def _adapted(self, objective: str, gated: bool, name: str) -> None:
        config = with_overrides(
            self.config, training={"objective": objective, "item_slots": objective == "listwise"}
        )
        llm = language_model(self.shape, config.model.precision)
        bound = Bound(llm, self.shape, self.layers)
        encoder = untrained_encoder(config, self.dataset)
        prompts = load_card(self.dataset.name).prompts
        model = AdaptedModel(llm, encoder, self.dataset.catalogue.titles, prompts, config, gated, 0)
        self._steps(name, llm, Stepper(model), bound)
        if objective == "listwise":
            asked = asking(self.dataset, self.samples, 4, self.steps + 1, 20)
            rank = ranking(model)
            self._timed(f"rank with {'iLoRA' if gated else 'LoRA'}", llm, rank, asked, 4, 4, bound, 1.0)

    def _peft(self) -> None:
        config = with_overrides(self.config, training={"objective": "listwise"})
        llm = language_model(self.shape, config.model.precision)
        bound = Bound(llm, self.shape, self.layers)
        card = load_card(self.dataset.name).prompts
        prompt = ListwisePrompt(llm.tokenizer, self.dataset.catalogue.titles, card.history, card.ask)
        peer = PlainPeft(config, prompt, llm)
        peer.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self._steps("train LoRA, listwise, by peft", llm, Stepper(peer), bound)

    def _steps(self, name: str, llm: LanguageModel, stepper: Stepper[Any], bound: Bound) -> None:
        """Training steps with the largest micro-batch that fits."""
        size, micro = self.config.training.batch_size, MICRO_BATCH
        batches = make_batches(self.dataset, self.samples, size, self.steps + 1)
        while True:
            try:
                parts = [self._cut(batch, micro) for batch in batches]
                self._timed(name, llm, stepper.step, parts, size, micro, bound, 3.0)
                return
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or micro == 1:
                    raise
                micro //= 2
                stepper.optimizer.zero_grad(set_to_none=True)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()

    def _cut(self, batch: Batch, micro: int) -> list[Batch]:
        """Samples with histories of similar length together, for all alike."""
        order = sorted(range(len(batch.targets)), key=lambda place: len(batch.histories[place]))
        fields = (batch.histories, batch.candidates, batch.targets)
        return [
            Batch(*([field[place] for place in order[at : at + micro]] for field in fields))  # type: ignore[arg-type]
            for at in range(0, len(order), micro)
        ]

    def _timed(
        self, name: str, llm: LanguageModel, work: Callable[[Any], object], given: list[Any],
        size: int, micro: int, bound: Bound, passes: float,
    ) -> None:  # fmt: skip
        lowest = len(layers_of(llm.decoder)) - (self.layers or len(layers_of(llm.decoder)))
        work(given[0])
        seconds, read = [], []
        for one in given[1:]:
            with counted(llm, lowest) as seen:
                settled()
                started = time.perf_counter()
                work(one)
                settled()
                seconds.append(time.perf_counter() - started)
            read.append(sum(seen))
        tokens = median(count / took for count, took in zip(read, seconds, strict=True))
        best = bound.tokens_per_second(passes, max(1.0, median(read) / max(1, size / micro)))
        line = Measured(
            name, self.layers, self.cap, micro, size / median(seconds), tokens, peak(), tokens / best
        )
        self.found.append(line)
        print(
            f"{name:34} micro-batch {micro}  {line.samples_per_second:8.2f} samples/s "
            f"{tokens:9,.0f} tokens/s  peak {line.peak_gb:5.2f} GB  {100 * line.of_bound:3.0f} % of bound",
            flush=True,
        )


def one(shape: str, cap: float, layers: int, steps: int) -> list[Measured]:
    """Measures in this process, whose memory on the card is capped."""
    if cap and torch.cuda.is_available():
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap * 1e9 / whole))
    device = pick_device()
    precision = name_of(pick_dtype(device, "auto"))
    print(
        f"\n{describe()}, {device.type}, torch {torch.__version__}, {precision}; random {shape} in NF4, "
        f"{layers or 'all'} layers adapted, at most {cap or 'any number of'} GB",
        flush=True,
    )
    return Bench(shape, cap, layers, steps).run()


def numbers(text: str) -> list[float]:
    """A comma-separated list."""
    return [float(part) for part in text.split(",")]


def main() -> None:
    """Measures every cap and number of layers, each in a process of its own."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--shape", choices=sorted(SHAPES), default="llama-3.1-8b")
    options.add_argument("--caps", type=numbers, default=[24.0, 16.0, 12.0], help="GB of the card; 0: all")
    options.add_argument("--layers", type=numbers, default=[0.0, 16.0], help="adapted upper layers; 0: all")
    options.add_argument("--steps", type=int, default=6, help="measured steps")
    options.add_argument("--json", type=Path, help="writes all lines here, too")
    options.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.alone:
        lines = one(given.shape, given.caps[0], int(given.layers[0]), given.steps)
        if given.json:
            given.json.write_text(json.dumps([asdict(line) for line in lines]), encoding="utf-8")
        return
    found: list[Any] = []
    for cap in given.caps:
        for layers in given.layers:
            command = [
                sys.executable,
                __file__,
                "--alone",
                "--shape",
                given.shape,
                "--steps",
                str(given.steps),
            ]
            command += ["--caps", f"{cap:g}", "--layers", f"{layers:g}"]
            part = given.json.with_suffix(f".{cap:g}.{layers:g}.json") if given.json else None
            ended = subprocess.run(command + (["--json", str(part)] if part else []), check=False)
            if ended.returncode:
                print(f"cap {cap:g}, layers {layers:g}: ended with code {ended.returncode}", flush=True)
            elif part:
                found += json.loads(part.read_text(encoding="utf-8"))
                given.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
