"""The methods: one record each, from which every other place takes what it needs to know of a method."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.config.chat import ChatConfig
from core.config.distillation import DistillationConfig
from core.errors import InputError
from core.method import ADAPTER, CONTROL, COUNTING, ENCODER, PROMPTED, REMOTE, STUDENT, UNKNOWN, Method

if TYPE_CHECKING:
    from core.config.settings import RunConfig

MethodSeed = tuple[str, int]
"""A method with a training seed: what a benchmark runs one after the other."""

_ADAPTED = ("data", "model", "encoder", "adapter", "training", "answering")
_GATED = ("data", "model", "encoder", "adapter", "gate", "training", "answering")
_TITLES_WRITTEN = {"objective": "language-model", "item_tokens": False}
_CANDIDATES_LISTED = {"objective": "listwise", "item_tokens": False}
CONTROLS = "controls"
"""What stands for all controls wherever methods are listed."""


def _control(name: str, label: str, kind: str, about: str, colours: tuple[str, str]) -> Method:
    """A control of iLoRA: its settings are iLoRA's, to the letter, for they find the model that is asked."""
    place = f"core.recommenders.controls:{kind}"
    return Method(name, label, CONTROL, place, reads=_GATED, about=about, colours=colours, control_of="ilora")


def _encoder(name: str, label: str, kind: str, colours: tuple[str, str], **more: Any) -> Method:
    """A sequence encoder that knows items by their ids and learns from the data alone."""
    place = f"core.recommenders.encoders:{kind}Recommender"
    reads = ("data", "encoder")
    return Method(name, label, ENCODER, place, reads, trains=True, keeps_model=True, colours=colours, **more)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "popularity",
            "Popularity",
            COUNTING,
            "core.recommenders.popularity:Popularity",
            colours=("#6b7280", "#9ca3af"),
            short="Pop.",
            by_default=True,
            ticked=True,
        ),
        Method(
            "chat",
            "Chat model",
            REMOTE,
            "core.recommenders.chat:Chat",
            reads=("data", "chat", "answering"),
            reported="GPT-4, zero-shot",
            colours=("#86198f", "#e879f9"),
        ),
        _encoder("gru4rec", "GRU4Rec", "GRU4Rec", ("#a16207", "#eab308"), reported="GRU4Rec"),
        _encoder("caser", "Caser", "Caser", ("#be185d", "#f472b6"), reported="Caser"),
        _encoder(
            "sasrec",
            "SASRec",
            "SASRec",
            ("#0f766e", "#2dd4bf"),
            reported="SASRec",
            by_default=True,
            ticked=True,
            opens=1,
        ),
        _encoder("esasrec", "eSASRec", "ESASRec", ("#065f46", "#6ee7b7"), short="eSAS."),
        Method(
            "morec",
            "MoRec",
            ENCODER,
            "core.recommenders.encoders:MoRecRecommender",
            reads=("data", "model", "encoder"),
            trains=True,
            keeps_model=True,
            reported="MoRec",
            colours=("#15803d", "#4ade80"),
        ),
        Method(
            "zero-shot",
            "LLM zero-shot",
            PROMPTED,
            "core.recommenders.zero_shot:ZeroShot",
            reads=("data", "model", "answering"),
            reported="Llama2-7B, zero-shot",
            colours=("#7c3aed", "#a78bfa"),
            by_default=True,
        ),
        Method(
            "tallrec",
            "TALLRec",
            ADAPTER,
            "core.recommenders.adapter:Tallrec",
            reads=("data", "model", "adapter", "training", "answering"),
            own_training={**_TITLES_WRITTEN, "item_slots": False, "curriculum": False},
            trains=True,
            keeps_model=True,
            about="A LoRA that writes the next title after a prompt of text alone (arXiv 2305.00447).",
            reported="TALLRec",
            colours=("#0e7490", "#22d3ee"),
        ),
        Method(
            "llara",
            "LLaRA",
            ADAPTER,
            "core.recommenders.adapter:Llara",
            reads=_ADAPTED,
            own_training={**_TITLES_WRITTEN, "item_slots": True, "curriculum": True},
            trains=True,
            keeps_model=True,
            about="A LoRA that writes the next title, learnt from text-only to hybrid prompts with the item "
            "vectors of a frozen {encoder} (arXiv 2312.02445).",
            reported="LLaRA (SASRec)",
            colours=("#4338ca", "#818cf8"),
        ),
        Method(
            "lora",
            "LoRA",
            ADAPTER,
            "core.recommenders.adapter:Lora",
            reads=_ADAPTED,
            trains=True,
            keeps_model=True,
            about="A LoRA for next-item recommendation, with item slots fed by a frozen {encoder}: one "
            "adapter for everybody.",
            reported="LLaRA (SASRec)",  # the paper's uniform LoRA with a hybrid prompt
            colours=("#1d4ed8", "#60a5fa"),
            by_default=True,
            ticked=True,
            opens=2,
            counterpart="ilora",
        ),
        Method(
            "lora-z",
            "LoRA with z",
            ADAPTER,
            "core.recommenders.adapter:LoraZ",
            reads=_ADAPTED,
            own_training={**_CANDIDATES_LISTED, "item_slots": True, "curriculum": False},
            trains=True,
            keeps_model=True,
            about="A LoRA that is told what iLoRA's gate reads: the user's vector from a frozen {encoder} "
            "stands in the prompt's question, beside the item slots. One adapter for everybody.",
            colours=("#1e3a8a", "#93c5fd"),
            short="LoRA z",
            knows_user=True,
        ),
        Method(
            "ilora",
            "iLoRA",
            ADAPTER,
            "core.recommenders.adapter:Ilora",
            reads=_GATED,
            trains=True,
            keeps_model=True,
            about="An instance-wise LoRA (arXiv 2408.10159): a gate reads the user's history through a "
            "frozen {encoder} and weighs {experts} low-rank experts for that one sequence.",
            reported="iLoRA",
            colours=("#c2410c", "#fb923c"),
            by_default=True,
            ticked=True,
            opens=3,
            counterpart="lora",
        ),
        Method(
            "distilled",
            "Distilled SASRec",
            STUDENT,
            "core.recommenders.distilled:Distilled",
            reads=("data", "encoder", "distillation"),
            trains=True,
            keeps_model=True,
            about="A SASRec that learnt to rank as a trained adapter does, from its scores and no labels.",
            colours=("#b45309", "#fcd34d"),
            short="Dist.",
            network="sasrec",
        ),
        _control(
            "shuffled",
            "Shuffled history",
            "Shuffled",
            "The items of every history stand in another, seeded order.",
            ("#9f1239", "#fb7185"),
        ),
        _control(
            "history-blind",
            "No history",
            "HistoryBlind",
            "The candidates alone: no history in the prompt, the mean gate, no word from the encoder.",
            ("#57534e", "#a8a29e"),
        ),
        _control(
            "mean-gate",
            "Mean gate",
            "MeanGate",
            "Every history gets the mean of all histories' expert weights.",
            ("#4d7c0f", "#a3e635"),
        ),
        _control(
            "swapped-gate",
            "Swapped gate",
            "SwappedGate",
            "Every history gets the expert weights of another user.",
            ("#0369a1", "#38bdf8"),
        ),
        _control(
            "cluster-gate",
            "Cluster gate",
            "ClusterGate",
            "Every history gets the mean expert weights of its k-means cluster; as many clusters as experts.",
            ("#a21caf", "#f0abfc"),
        ),
    )
}
"""Name -> record, in the benchmark's order: cheap first, the encoder before its users.

The chat model comes early: an address or key that is wrong shows before anything is trained.
"""


def method_names(which: Callable[[Method], bool]) -> tuple[str, ...]:
    """Names of the methods for which this holds, in the benchmark's order."""
    return tuple(name for name, method in METHODS.items() if which(method))


def local_methods() -> tuple[str, ...]:
    """Names of the methods of their own that need nothing but this machine."""
    return method_names(lambda method: not (method.is_remote or method.is_control or method.is_student))


def control_methods() -> tuple[str, ...]:
    """Names of the methods that ask another one's trained model in another way."""
    return method_names(lambda method: method.is_control)


def preferred_methods() -> tuple[str, ...]:
    """Names of the methods whose newest run is opened where no run is named, the first choice first."""
    names = method_names(lambda method: method.opens > 0)
    return tuple(sorted(names, key=lambda name: -METHODS[name].opens))


def any_needs_llm(methods: Iterable[str]) -> bool:
    """Whether one of these methods loads the language model."""
    return any(record_of(name).needs_llm for name in methods)


def any_remote(methods: Iterable[str]) -> bool:
    """Whether one of these methods asks another machine."""
    return any(record_of(name).is_remote for name in methods)


def record_of(name: str) -> Method:
    """The record of a method; of one that only another version's files know, no more than its name."""
    return METHODS.get(name) or Method(name, name, UNKNOWN, "")


def settle(config: RunConfig, method: str) -> RunConfig:
    """A run's settings as they hold for one method."""
    record = METHODS[method]
    if record.is_remote:
        training = replace(
            config.training, objective="language-model", encoder_prior=False, item_tokens=False
        )
        return replace(config, training=training, answering=replace(config.answering, protocol="generate"))
    if config.chat != ChatConfig():
        config = replace(config, chat=ChatConfig())
    if record.is_student:
        return replace(config, encoder=replace(config.encoder, kind=record.network))
    if config.distillation != DistillationConfig():
        config = replace(config, distillation=DistillationConfig())
    if not record.own_training:
        return config
    if record.own_training["objective"] == "listwise":
        training = replace(config.training, **record.own_training)
        return replace(config, training=training, answering=replace(config.answering, protocol="rank"))
    return replace(config, training=replace(config.training, encoder_prior=False, **record.own_training))


def check_method(name: str) -> None:
    """Raises `InputError` unless this is a method."""
    if name not in METHODS:
        raise InputError(f"unknown method: {name}", f"choose from: {', '.join(METHODS)}")
