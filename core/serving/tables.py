"""Tables inside the messages of `core.serving.protocol`: what is listed, a record each."""

from __future__ import annotations

from typing import TypedDict


class AssetListed(TypedDict):
    """A dataset or a model that can be fetched."""

    kind: str
    """`dataset` or `model`."""
    name: str
    title: str
    cached: bool
    bytes: int
    licence: str
    terms: str
    source: str


class RunListed(TypedDict):
    """A run folder."""

    path: str
    dataset: str
    split: str
    method: str
    seed: int
    created: str
    samples_sha256: str
    metrics: dict[str, dict[str, float]]
    """Test set -> metric -> mean."""
    demo: bool
    """Whether it is one of the runs that come with the program."""
    model: str | None


class UserListed(TypedDict):
    """A user with everything that is known of the user."""

    user: str
    part: str
    """`test`, `validation` or `train`."""
    items: list[int]
    times: list[int]


class TraitListed(TypedDict):
    """What goes with an expert's weight."""

    name: str
    correlation: float


class ExpertListed(TypedDict):
    """An expert in words."""

    words: str
    mean: float
    traits: list[TraitListed]
    n: int


class CaseDiffered(TypedDict):
    """A test case under two runs."""

    user: str
    position: int
    rank: int
    other: int


class CurveListed(TypedDict):
    """How one run learnt."""

    run: str
    points: list[dict[str, float]]
    """One per validation: `step`, the mean training `loss` since the one before, and metrics by name."""
