"""Every setting of the engine, typed, checked where it is made, and saved beside what it produced."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from core.config.bounds import WHOLE, bounded, check_bounds
from core.config.chat import ChatConfig
from core.config.checks import JOINT, check, check_choice, check_dataset, check_negatives
from core.config.choices import (
    ENCODERS,
    GATE_INPUTS,
    GATE_SCOPES,
    GATES,
    HARD_AMONG,
    ITEM_TEXTS,
    NEGATIVES,
    OBJECTIVES,
    POOLS,
    PRECISIONS,
    PROTOCOLS,
    QUANTIZATIONS,
    SPLITS,
)
from core.config.distillation import DistillationConfig
from core.config.moments import ENCODER_UNTIL, check_moment

TUNING_GRID: tuple[dict[str, float], ...] = tuple(
    {"learning_rate": rate, "dropout": dropout} for rate in (1e-3, 2e-3) for dropout in (0.3, 0.5)
)
"""What `EncoderConfig.tune` tries, the same settings for every encoder; validation MRR chooses."""
ALL_USERS = 0
"""`DataConfig.users` where all training users train."""
IN_ONE_TABLE = ("data.users",)
"""Settings of the data that may differ between rows of one table: they leave the test cases as they are."""
EMBEDDED = "smollm2-135m-instruct"
RETIRED = {"encoder": ("max_history",)}
"""Settings of earlier versions by part, which saved configs may still name; `max_history` is the card's."""
OLDER = "older"
"""In a field's metadata: what a file written before the setting existed means, if not its default."""


@dataclass(frozen=True)
class ModelConfig:
    """Which language model, and how its weights are held in memory."""

    name: str = EMBEDDED
    """The embedded model, a hub name, a local folder or a GGUF file."""
    revision: str = "main"
    """Branch, tag or commit of a hub model."""
    quantize: str = "nf4"
    """nf4 (4 bit, double quantization), int8, or none."""
    precision: str = field(default="auto", metadata={OLDER: "bfloat16"})
    """What is computed in: float32, bfloat16, float16, or auto (16 bit where the hardware multiplies it)."""
    item_text: str = "title"
    """What the model is told of an item, one of `ITEM_TEXTS`; years and genres come from the catalogue."""

    def __post_init__(self) -> None:
        check_choice(self.quantize, QUANTIZATIONS, "quantization")
        check_choice(self.precision, PRECISIONS, "precision")
        check_choice(self.item_text, ITEM_TEXTS, "item text")
        check(bool(self.name.strip()), "the model's name is empty", f"leave --model out for {EMBEDDED}")

    @property
    def is_embedded(self) -> bool:
        """Whether this is the small model that is fetched by default."""
        return self.name.lower() == EMBEDDED


@dataclass(frozen=True)
class EncoderConfig:
    """The sequential recommenders: the one behind gate, item slots and prior, and the baselines."""

    kind: str = "sasrec"
    """One of `ENCODERS`: which one the gate and the item slots read; baselines are their own kind."""
    tune: bool = False
    """Whether validation chooses learning rate and dropout from a grid, the same for every encoder."""
    width: int = bounded(64, 1, 4096, "the encoder's width")
    """d, the length of item vectors and of the sequence representation (paper: 64)."""
    layers: int = bounded(2, 1, 64, "the encoder's layers")
    """Self-attention blocks (SASRec, eSASRec)."""
    heads: int = bounded(2, 1, 256, "the encoder's heads")
    """Attention heads per block (SASRec, eSASRec)."""
    dropout: float = bounded(0.3, 0, 0.99, "the encoder's dropout")
    """Dropout on embeddings and hidden states, in training only."""
    learning_rate: float = bounded(1e-3, 0, 10, "the encoder's learning rate", open=True)
    """AdamW's peak rate."""
    weight_decay: float = bounded(0.0, 0, 10, "the encoder's weight decay")
    """AdamW's decay."""
    batch_size: int = bounded(128, 1, 1 << 20, "the encoder's batch size")
    """Sequences in a step."""
    epochs: int = bounded(60, 1, 10**6, "epochs")
    """At most this many passes over the training users; validation chooses which one is kept."""
    steps: int = bounded(0, 0, 10**9, "the encoder's number of steps")
    """At most this many optimizer steps in all, however many epochs that makes; 0: no such limit."""
    patience: int = bounded(4, 1, 10**6, "the encoder's patience")
    """Validations without improvement before training stops."""
    until: str = ""
    """Under the split temporal, the share of all interactions or the date before which lies all that encoders
    are trained on; empty: they see what adapters see."""

    def __post_init__(self) -> None:
        check_choice(self.kind, tuple(ENCODERS), "encoder")
        check_bounds(self)
        check(
            self.width % self.heads == 0,
            f"{self.heads} heads do not divide width {self.width}",
            "such as 2 and 64",
        )


@dataclass(frozen=True)
class AdapterConfig:
    """The low-rank adapter; LoRA and iLoRA share all of it."""

    rank: int = bounded(16, 1, 1024, "rank")
    """r, the rank over all experts together."""
    alpha: float = bounded(32.0, 0, 10**6, "alpha", open=True)
    """The adapter's output is scaled by alpha / rank."""
    dropout: float = bounded(0.0, 0, 0.99, "the adapter's dropout")
    """Dropout before A (paper: 0.1)."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    """Linear layers that get an adapter, in each adapted transformer layer."""
    layers: int = bounded(10, 0, 1000, "adapted layers")
    """How many of the upper layers are adapted; 0 means all of them."""
    experts: int = bounded(4, 1, 1024, "the number of experts")
    """K, used by iLoRA only."""

    def __post_init__(self) -> None:
        check_bounds(self)
        check(
            self.rank % self.experts == 0,
            f"{self.experts} experts do not divide rank {self.rank}",
            f"choose experts that divide the rank, such as --experts {math.gcd(self.rank, self.experts)}, "
            f"or a rank of {self.experts}, {2 * self.experts} and so on",
        )
        check(bool(self.targets), "the adapter has no targets", "name linear layers, such as q_proj")


@dataclass(frozen=True)
class GateConfig:
    """How iLoRA weighs its experts; plain LoRA has none of it."""

    kind: str = "softmax"
    """One of `GATES`."""
    scope: str = "shared"
    """shared: one omega per sequence, as in the paper's code; per-layer or per-module: one for each."""
    input: str = "sequence"
    """What the gate reads: sequence (the encoder's representation), random (a vector that only the history
    decides), items (mean of the history's item vectors), tokens (mean of its titles' token embeddings)."""
    kept: int = bounded(2, 1, 1024, "experts kept by the gate")
    """Experts that take part under top-k."""
    noise: float = bounded(1.0, 0, 100, "the gate's noise")
    """Deviation of the noise on the logits under noisy, in training only."""
    balance: float = bounded(0.0, 0, 100, "the gate's balance term")
    """Weight of the term that wants all experts used alike over a batch."""
    entropy: float = bounded(0.0, -0.5, 100, "the gate's entropy term")
    """Weight of the term that keeps each sequence's experts mixed; negative sharpens the choice."""

    def __post_init__(self) -> None:
        check_choice(self.kind, tuple(GATES), "gate")
        check_choice(self.scope, GATE_SCOPES, "gate scope")
        check_choice(self.input, GATE_INPUTS, "gate input")
        check(
            self.kind != "dataset" or self.input == "sequence",
            f"--gate dataset reads no {self.input}",
            "leave --gate-input out",
        )
        check_bounds(self)

    @property
    def has_penalty(self) -> bool:
        """Whether the loss has a term for how the experts are used."""
        return self.balance != 0 or self.entropy != 0

    @property
    def sees_batch(self) -> bool:
        """Whether a sample's gradient depends on which others share its forward pass."""
        return self.kind == "resnet" or self.balance != 0


@dataclass(frozen=True)
class TrainingConfig:
    """One run of the training loop."""

    objective: str = "listwise"
    """listwise: cross-entropy over packed candidates; language-model: the answer's tokens (paper §3.1)."""
    samples: int = bounded(800, 0, 10**9, "samples")
    """Training samples seen, with repetition once the training set is exhausted."""
    batch_size: int = bounded(16, 1, 1 << 16, "batch")
    """Samples in one optimizer step."""
    micro_batch_size: int = bounded(4, 1, 1 << 16, "micro-batch")
    """Samples in one forward pass; gradients are accumulated up to the batch size."""
    learning_rate: float = bounded(1e-3, 0, 10, "learning rate", open=True)
    """AdamW's peak rate for adapter, projector and head."""
    gate_rate_multiplier: float = bounded(1.0, 0, 1000, "the gate's rate multiplier")
    """The gate's rate over `learning_rate` (paper's code: 0.3)."""
    warmup: float = bounded(0.05, 0, 1, "warm-up")
    """Share of the steps that the rate rises."""
    final_rate: float = bounded(0.05, 0, 1, "the final rate")
    """The cosine ends at this share of the peak."""
    weight_decay: float = bounded(0.0, 0, 10, "weight decay")
    """AdamW's decay on projector and gate."""
    clip: float = bounded(1.0, 0, 10**6, "the largest gradient", open=True)
    """Largest norm of the gradient."""
    validations: int = bounded(2, 0, 10**6, "validations")
    """How often validation runs, evenly spaced; the best one is kept."""
    validation_cases: int = bounded(282, 1, 10**9, "validation cases")
    """At most this many validation cases per validation."""
    candidates: int = bounded(20, 2, 1000, "training candidates")
    """Target and negatives in a training sample."""
    negatives: str = "random"
    """random: any items new to the user; hard: of the encoder's best `HARD_AMONG`; validation's, too."""
    encoder_prior: bool = False
    """Whether the encoder's own score is added to the LLM's with a learned weight."""
    item_slots: bool = True
    """Whether titles in the prompt are followed by item vectors (hybrid), or stand alone (text-only)."""
    item_tokens: bool = False
    """Whether each item is a token of its own in the model's tables; `item_slots` then means nothing."""
    curriculum: bool = False
    """Whether batches go from text-only to hybrid prompts over all of training (LLaRA)."""
    start: str = ""
    """The trained adapters that training starts from, by datasets and checksum; empty: from nothing."""
    checkpointing: bool = False
    """Whether layers run again in the backward pass instead of keeping activations."""

    @property
    def asks(self) -> str:
        """What the language model is asked in training and at test, which decides the time it takes."""
        return "item-tokens" if self.item_tokens else self.objective

    def __post_init__(self) -> None:
        check_choice(self.objective, OBJECTIVES, "objective")
        check_negatives(self.negatives, self.candidates, NEGATIVES, HARD_AMONG)
        check_bounds(self)
        check(
            self.batch_size % self.micro_batch_size == 0,
            f"micro-batch {self.micro_batch_size} does not divide batch {self.batch_size}",
            f"choose a divisor of {self.batch_size}",
        )
        check(
            not self.encoder_prior or self.objective == "listwise",
            "the encoder's score cannot be added to the likelihood of an answer",
            "use --objective listwise, or leave --encoder-prior out",
        )
        check(
            (self.item_slots and not self.curriculum)
            or self.item_tokens
            or self.objective == "language-model",
            "text-only prompts and the curriculum belong to the language-model objective",
            "use --objective language-model",
        )
        check(
            not (self.start and self.encoder_prior),
            "with the encoder's prior training starts from the encoder's own ranking, not from an adapter",
            "leave out one of --start-from and --encoder-prior",
        )
        check(
            not self.item_tokens or not (self.encoder_prior or self.curriculum),
            "with item tokens neither the encoder's score nor a curriculum has a place",
            "leave out --item-tokens, or both of the others",
        )
        check(
            self.item_slots or not self.curriculum,
            "a curriculum ends with item vectors, and there are none",
            "leave out one of curriculum and text-only prompts",
        )


@dataclass(frozen=True)
class AnsweringConfig:
    """How a language model is asked at test."""

    protocol: str = "rank"
    """rank: every candidate is scored; generate: the answer is written freely, and may name no candidate
    (paper §4.1); constrained: it is written, and only the candidates' titles can be."""

    def __post_init__(self) -> None:
        check_choice(self.protocol, PROTOCOLS, "protocol")


@dataclass(frozen=True)
class DataConfig:
    """Which cases are asked."""

    dataset: str = "movielens"
    """A card's name, or several with a plus between them: these are used as one."""
    split: str = "paper"
    """paper: users are split; leave-one-out: each user's last item is the test; temporal: what is later than
    one moment, the same for all users."""
    samples_seed: int = bounded(0, 0, WHOLE, "the seed of the candidates")
    """Seeds the negatives; the same for every method and training seed."""
    spread_positions: int = bounded(10, 1, 1000, "spread positions")
    """Positions per test user in the `spread` set."""
    validation_positions: int = bounded(3, 1, 1000, "validation positions")
    """Positions per validation user."""
    test_users: int = bounded(0, 0, 10**9, "the number of test users")
    """At most this many users are tested, a fixed draw, but for leave-one-out; 0: all of them."""
    users: int = bounded(ALL_USERS, 0, 10**9, "the number of training users")
    """At most this many users train, a fixed draw in which fewer are always among more; 0: all of them."""
    candidates: str = "20"
    """20: the target and 19 drawn items; catalogue: every item that the user has not had."""
    retrieve: int = bounded(100, 0, 10**9, "--retrieve")
    """Of the catalogue, how many items of their encoder's language models rerank; 0: they score all of it."""
    test_from: str = "0.9"
    """Under the split temporal, the share of all interactions before the test, or a date."""
    cold_items: float = bounded(0.0, 0, 1, "--cold-items")
    """Share of the items that training and validation never meet; as targets they are sets of their own."""
    min_history: int = bounded(0, 0, 1000, "--min-history")
    """Shorter histories than the card asks for, down to this length, are a test set of their own; 0: none."""

    @property
    def whole(self) -> bool:
        """Whether cases are ranked against the whole catalogue."""
        return self.candidates == "catalogue"

    def __post_init__(self) -> None:
        check_choice(self.split, SPLITS, "split")
        check_choice(self.candidates, POOLS, "kind of candidates")
        check_moment(self.test_from, self.split, DataConfig.test_from)
        check_dataset(self.dataset, self.whole, bool(self.cold_items or self.min_history))
        check_bounds(self)


@dataclass(frozen=True)
class RunConfig:
    """All that decides a (dataset, method, seed) result, apart from the method and the seed."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    answering: AnsweringConfig = field(default_factory=AnsweringConfig)
    chat: ChatConfig = field(default_factory=ChatConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)

    def __post_init__(self) -> None:
        check(
            self.answering.protocol == "rank" or self.training.objective == "language-model",
            f"--protocol {self.answering.protocol} needs a model that was trained to write its answer",
            "add --objective language-model, or use --preset paper",
        )
        check_moment(self.encoder.until, self.data.split, EncoderConfig.until, ENCODER_UNTIL)
        datasets = self.data.dataset.count(JOINT) + 1
        check(
            self.gate.kind != "dataset" or self.adapter.experts == datasets > 1,
            "--gate dataset needs several datasets and an expert for each: "
            f"{datasets}, not {self.adapter.experts}",
            "such as --dataset movielens+lastfm --gate dataset --experts 2",
        )
        check(
            self.answering.protocol == "rank" or not self.training.item_tokens,
            f"--protocol {self.answering.protocol} writes titles, and --item-tokens has none to write",
            "leave --protocol out, or --item-tokens",
        )
        check(
            self.answering.protocol == "rank" or not self.data.whole,
            f"--protocol {self.answering.protocol} gives one answer, and no ranking of a catalogue",
            "leave --protocol out, or use --candidates 20",
        )

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as saved beside results; parts that most runs lack stand there only if set."""
        from core.config.saved import record_of_config  # here, for what lies around it reads these settings

        return record_of_config(self)

    @staticmethod
    def from_dict(record: dict[str, Any]) -> RunConfig:
        """The config saved by `to_dict`, by this or an older version.

        Raises:
            InputError: a setting is unknown or missing, or has the wrong type or breaks a rule.
        """
        from core.config.saved import config_of

        return config_of(record)


PARTS: dict[str, Any] = {
    "data": DataConfig,
    "model": ModelConfig,
    "encoder": EncoderConfig,
    "adapter": AdapterConfig,
    "gate": GateConfig,
    "training": TrainingConfig,
    "answering": AnsweringConfig,
    "chat": ChatConfig,
    "distillation": DistillationConfig,
}
"""Part of a run's config -> its class."""
