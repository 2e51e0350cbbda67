"""Why instance-wise adapters help or not: negative transfer, what the experts are for, and who gains.

(a) Users are clustered by the encoder's representation, and the adapter's gradients are compared between
the clusters (paper §2). (b) Each expert is described by the users, genres and items that raise it. (c) The
gain of iLoRA over LoRA is set against how unusual a user's history is. Nothing is chosen by what is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from core.analysis.gains import Gain, gains
from core.analysis.transfer import Transfer, gradient_similarity
from core.config import bounds
from core.data.types import Sample
from core.errors import InputError, ResultError
from core.evaluation.clusters import Clusters, distances, k_means
from core.events import Emit, Notice, ShouldStop, never, silent
from core.ilora.experts import Profile, one_sidedness
from core.ilora.model import AdaptedModel
from core.methods import record_of
from core.recommenders.base import Task
from core.runs.store import RunInfo, list_runs, read_run, result_of
from core.serving.opening import open_session
from core.serving.session import Session

CLUSTERS = 8
WINDOWS = 32
SHOWN = 5
"""Users and items named for each expert."""
LEAST = 5
"""An item in fewer histories names no expert."""


@dataclass(frozen=True)
class Settings:
    """How much is looked at."""

    clusters: int = CLUSTERS
    """Groups of users (paper: 8)."""
    windows: int = WINDOWS
    """Training windows per cluster behind a gradient."""
    metric: str = "MRR"
    """What a user gains."""

    def __post_init__(self) -> None:
        bounds.CLUSTERS.check(self.clusters)
        bounds.WINDOWS.check(self.windows)


@dataclass(frozen=True)
class ItemLift:
    """How much an item in the history raises an expert."""

    title: str
    lift: float
    """Mean weight over histories with the item, minus the mean over all."""
    n: int
    """Histories with it."""


@dataclass(frozen=True)
class Expert:
    """One expert: who and what raises it."""

    profile: Profile
    favourites: float
    """Share of the users to whom it matters most."""
    users: tuple[tuple[str, float], ...]
    """Those with the highest weight."""
    items: tuple[ItemLift, ...]


@dataclass(frozen=True)
class ExpertSummary:
    """How a gate spreads its weights over all users."""

    experts: tuple[Expert, ...]
    entropy: npt.NDArray[np.float64]
    """(n,) entropy of omega over log K, one per user: 1 where all experts weigh the same. Where layers have
    gates of their own, the mean over these."""
    omega: npt.NDArray[np.float64]
    """(n, K), likewise."""

    @property
    def balance(self) -> float:
        """Entropy of the mean weights over log K: 1 where all experts are used equally."""
        return 1 - one_sidedness(self.omega.mean(axis=0)[None])[0]


@dataclass(frozen=True)
class Analysis:
    """Everything that was found."""

    run: RunInfo
    against: RunInfo | None
    """The run of the other method, trained the same way."""
    settings: Settings
    clusters: Clusters
    """Of the training users; of several datasets as one, the users of each are a cluster."""
    names: tuple[str, ...]
    """What the clusters are called: the datasets, or nothing."""
    transfers: tuple[Transfer, ...]
    """One for each of the runs."""
    experts: ExpertSummary | None
    """None where no run has a gate."""
    gains: tuple[Gain, ...]
    """Empty where one of the two results is not there."""


def find_partner(info: RunInfo) -> RunInfo | None:
    """The run of the other of LoRA and iLoRA in the same folder, on the same cases, with the same settings.

    Of several, the one whose settings differ least, the newest first; None where there is none.
    """
    other = record_of(info.method).counterpart
    runs, _ = list_runs(info.path.parent.parent)
    found = [
        run
        for run in runs
        if run.method == other and run.seed == info.seed and run.samples_sha256 == info.samples_sha256
    ]
    mine = info.config.to_dict()

    def apart(run: RunInfo) -> int:
        theirs = run.config.to_dict()
        return sum(mine[part][key] != theirs[part][key] for part in mine for key in mine[part])

    return min(found, key=apart, default=None)


def analyze(
    path: Path,
    against: Path | None = None,
    settings: Settings | None = None,
    emit: Emit = silent,
    should_stop: ShouldStop = never,
    precision: str = "auto",
) -> Analysis:
    """Looks into a run of LoRA or iLoRA, and into its partner where there is one.

    Args:
        path: the run's folder.
        against: the partner's folder; found beside the run if not given.
        settings: how much is looked at.
        emit: receives progress.
        should_stop: asked between steps.
        precision: what the language models are computed in.

    Raises:
        InputError: the run has no adapter, or the two cannot be compared.
        ResultError, AssetError, DataError, ModelError: a run cannot be opened.
        Interrupted: `should_stop` said so.
    """
    settings = settings or Settings()
    info = read_run(path)
    partner = read_run(against) if against else find_partner(info)
    _check(info, partner)
    session = open_session(path, emit, precision, should_stop)
    model = _adapted(session)
    names = tuple(part.name for part in session.dataset.parts)
    clusters = _by_dataset(session, names) if names else k_means(_represent(session), settings.clusters)
    windows = _windows(session, clusters, settings.windows)
    transfers = [gradient_similarity(model, _task(session, info, emit, should_stop), info.method, windows)]
    experts, measures = _experts(session), _measures(session, clusters)
    if partner is None:
        emit(Notice(f"no run of the other method beside {path.name}: nothing to compare with", "warning"))
    else:
        del session, model  # one language model in memory at a time
        other = open_session(partner.path, emit, precision, should_stop)
        task = _task(other, partner, emit, should_stop)
        transfers.append(gradient_similarity(_adapted(other), task, partner.method, windows))
        experts = experts or _experts(other)
    found = _gains(info, partner, settings.metric, measures, emit) if partner else ()
    return Analysis(info, partner, settings, clusters, names, tuple(transfers), experts, found)


def _check(info: RunInfo, partner: RunInfo | None) -> None:
    if partner is None:
        return
    if partner.samples_sha256 != info.samples_sha256:
        raise InputError(
            f"{partner.path.name} was tested on other cases than {info.path.name}", "name its pair"
        )
    if partner.path.resolve() == info.path.resolve():
        raise InputError(
            f"{info.path.name} cannot be compared with itself", "name another run with --against"
        )


def _task(session: Session, info: RunInfo, emit: Emit, should_stop: ShouldStop) -> Task:
    return Task(session.dataset, session.samples, info.config, info.seed, info.path, emit, should_stop)


def _adapted(session: Session) -> AdaptedModel:
    """The run's language model with its adapter.

    Raises:
        InputError: it has none.
    """
    model = getattr(session.recommender, "model", None)
    if not isinstance(model, AdaptedModel):
        raise InputError(
            f"{session.recommender.name} has no adapter to analyze", "name a run of LoRA or iLoRA"
        )
    return model


# --- (a) the clusters --------------------------------------------------------------------------------------


def _last_windows(session: Session) -> dict[str, Sample]:
    """Each training user's last window."""
    return {sample.user: sample for sample in sorted(session.samples.train, key=lambda one: one.position)}


@torch.no_grad()
def _represent_histories(session: Session, histories: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
    """(n, d) representations z."""
    parts = [
        session.encoder.represent(histories[start : start + 512]).float().cpu().numpy()
        for start in range(0, len(histories), 512)
    ]
    return np.concatenate(parts).astype(np.float64)


def _represent(session: Session) -> npt.NDArray[np.float64]:
    """(training users, d), users in the order of their first window."""
    last = _last_windows(session)
    return _represent_histories(session, [last[user].history for user in _training_users(session)])


def _by_dataset(session: Session, names: Sequence[str]) -> Clusters:
    """The training users of each of several datasets."""
    represented = _represent(session)
    labels = np.array([names.index(user.split(":")[0]) for user in _training_users(session)])
    centres = np.array([represented[labels == place].mean(axis=0) for place in range(len(names))])
    return Clusters(centres, labels, float(((represented - centres[labels]) ** 2).sum()))


def _training_users(session: Session) -> list[str]:
    return list(dict.fromkeys(sample.user for sample in session.samples.train))


def _windows(session: Session, clusters: Clusters, count: int) -> list[list[Sample]]:
    """For each cluster that has two or more, at most `count` of its users' windows, drawn by a seed."""
    cluster_of = dict(zip(_training_users(session), clusters.labels.tolist(), strict=True))
    members: list[list[Sample]] = [[] for _ in clusters.centres]
    for sample in session.samples.train:
        members[cluster_of[sample.user]].append(sample)
    stream = np.random.RandomState(0)
    drawn = [[windows[i] for i in stream.permutation(len(windows))[:count]] for windows in members]
    return [windows for windows in drawn if len(windows) > 1]


# --- (b) the experts ---------------------------------------------------------------------------------------


def _experts(session: Session) -> ExpertSummary | None:
    """Who and what raises each expert, over all users' newest histories; None without a gate."""
    users, weights = session.gates()
    if weights is None:
        return None
    omega = weights.reshape(len(weights), -1, weights.shape[-1]).mean(axis=1).astype(np.float64)
    _, histories = session.newest_histories()
    profiles = session.profiles()
    largest = np.bincount(omega.argmax(axis=1), minlength=omega.shape[1]) / len(omega)
    experts = []
    for k, profile in enumerate(profiles):
        top = np.argsort(-omega[:, k], kind="stable")[:SHOWN]
        named = tuple((users[row], float(omega[row, k])) for row in top)
        items = _items(omega[:, k], histories, session.dataset.catalogue.titles)
        experts.append(Expert(profile, float(largest[k]), named, items))
    return ExpertSummary(tuple(experts), 1 - np.array(session.one_sided()), omega)


def _items(
    weight: npt.NDArray[np.float64], histories: Sequence[Sequence[int]], titles: Sequence[str]
) -> tuple[ItemLift, ...]:
    """The items whose presence in a history goes with the highest weight."""
    total, count = np.zeros(len(titles)), np.zeros(len(titles), dtype=np.int64)
    for value, history in zip(weight, histories, strict=True):
        for item in set(history):
            total[item] += value
            count[item] += 1
    known = np.flatnonzero(count >= LEAST)
    lift = total[known] / count[known] - weight.mean()
    order = np.argsort(-lift, kind="stable")[:SHOWN]
    return tuple(
        ItemLift(titles[known[row]], float(lift[row]), int(count[known[row]]))
        for row in order
        if lift[row] > 0
    )


# --- (c) who gains -----------------------------------------------------------------------------------------


def _measures(session: Session, clusters: Clusters) -> dict[str, dict[str, float]]:
    """How unusual each test user is, by two measures, the mean over the user's cases."""
    cases = session.samples.asked
    histories = [case.history for case in cases.values()]
    away = distances(_represent_histories(session, histories), clusters.centres).min(axis=1)
    rarity = [-float(np.log10(1 + session.counts[list(history)]).mean()) for history in histories]
    users = [user for user, _ in cases]
    return {
        "distance of z to the nearest cluster centre": _mean_by(users, away.tolist()),
        "rarity of the history (− mean log10 of 1 + training count)": _mean_by(users, rarity),
    }


def _mean_by(users: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for user, value in zip(users, values, strict=True):
        found.setdefault(user, []).append(value)
    return {user: float(np.mean(of_user)) for user, of_user in found.items()}


def _gains(
    info: RunInfo, partner: RunInfo, metric: str, measures: dict[str, dict[str, float]], emit: Emit
) -> tuple[Gain, ...]:
    """The gain of the gated run over the other; empty where a result is not on disk."""
    ours, theirs = (info, partner) if record_of(info.method).has_gate else (partner, info)
    try:
        return tuple(gains(result_of(ours.path), result_of(theirs.path), metric, measures))
    except ResultError as error:
        emit(Notice(f"who gains cannot be said: {error.title}", "warning"))
        return ()
