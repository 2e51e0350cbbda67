"""What a method's record holds, and the kinds of methods; the records themselves are in `core/methods.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

COUNTING, ENCODER, PROMPTED, ADAPTER, REMOTE = "counting", "encoder", "prompted", "adapter", "remote"
CONTROL, STUDENT = "control", "student"
UNKNOWN = "unknown"
KINDS = {
    COUNTING: "computed from the training sequences in next to no time",
    ENCODER: "a sequence encoder, trained by gradients",
    PROMPTED: "the language model as it comes",
    ADAPTER: "the language model with a trained adapter",
    REMOTE: "another machine's model, asked over the network, for money perhaps",
    CONTROL: "a trained method asked in another way, to see what its answers rest on; it trains nothing",
    STUDENT: "a sequence encoder that learns what a trained run answers",
    UNKNOWN: "a method of another version of this program",
}
"""What a method is, in words; a kind decides how its time is estimated and how it is asked."""


@dataclass(frozen=True)
class Method:
    """Everything that the program knows about a method before it is imported."""

    name: str
    """What is typed, and what stands in files."""
    label: str
    """The name as the field writes it."""
    kind: str
    """One of `KINDS`."""
    implementation: str
    """Where its class lives: `module:Class`, a `Recommender`."""
    reads: tuple[str, ...] = ("data",)
    """The parts of a run's config that decide its result."""
    own_training: Mapping[str, Any] = field(default_factory=dict)
    """What the method is by definition, whatever a run's training settings say; the budget is the run's."""
    trains: bool = False
    """Whether fitting takes optimizer steps."""
    keeps_model: bool = False
    """Whether its training is worth a run folder; then it can `save` and `load`."""
    about: str = "A sequential recommender without an adapter."
    """One sentence for model cards; `{encoder}` and `{experts}` stand for the run's."""
    reported: str = ""
    """The paper's name for it, as dataset cards write it; empty where the paper has no such method."""
    colours: tuple[str, str] | None = None
    """Its colour on a light and on a dark page; without one it borrows another method's for good."""
    short: str = ""
    """The label at the head of a narrow column, where its first letters would not do."""
    by_default: bool = False
    """Whether `bench` runs it where no methods are named."""
    ticked: bool = False
    """Whether the training screen proposes it."""
    opens: int = 0
    """Where no run is named, the newest run of the method with the highest number is opened; 0: of none."""
    counterpart: str = ""
    """The method that differs from it in the gate alone."""
    knows_user: bool = False
    """Whether the encoder's representation of the user stands in the prompt."""
    control_of: str = ""
    """The method whose trained model it asks in another way; empty for every method that is none of these."""
    network: str = ""
    """The kind of encoder that it is, where that is not its own name."""

    @property
    def needs_llm(self) -> bool:
        """Whether it loads the language model."""
        return "model" in self.reads

    @property
    def column(self) -> str:
        """Its name at the head of a narrow column."""
        return self.short or (self.label if len(self.label) <= 6 else f"{self.label[:5]}.")

    @property
    def is_encoder(self) -> bool:
        """Whether it is a sequence encoder of its own, whichever kind the gate reads."""
        return self.kind in (ENCODER, STUDENT)

    @property
    def is_student(self) -> bool:
        """Whether it learns from a trained run, and so runs only where one is named."""
        return self.kind == STUDENT

    @property
    def is_remote(self) -> bool:
        """Whether it asks another machine: then it runs only where somebody gave an address."""
        return self.kind == REMOTE

    @property
    def is_control(self) -> bool:
        """Whether it asks another method's trained model: it stands beside that method and never competes."""
        return bool(self.control_of)

    @property
    def has_adapter(self) -> bool:
        """Whether it answers with low-rank factors on the language model."""
        return "adapter" in self.reads

    @property
    def has_gate(self) -> bool:
        """Whether a gate weighs experts for every sequence."""
        return "gate" in self.reads
