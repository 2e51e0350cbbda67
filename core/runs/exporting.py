"""Writes a run's adapter, or one user's, as a plain LoRA folder that peft and servers load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.assets.known import base_model
from core.data.samples import history_of
from core.data.types import Dataset
from core.errors import InputError
from core.files import atomic_path
from core.ilora.folding import MAX_RANK, reduce_rank, save_updates
from core.ilora.layers import ADAPTER
from core.runs.model_card import user_card
from core.runs.store import MODEL_CARD, OpenRun

if TYPE_CHECKING:
    from core.ilora.model import AdaptedModel


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    user: str | None
    position: int | None
    history: tuple[int, ...]
    """What the gate read; empty for the whole adapter."""
    omega: tuple[float, ...]
    """The gate's weights, their mean over layers where those differ; empty for the whole adapter."""
    rank: int
    trained_rank: int
    lost: float
    """Norm of what a smaller rank left out, over the norm of the whole update; 0 where nothing was cut."""
    base_model: str
    """What the adapter belongs on."""


def check_destination(out: Path) -> None:
    """Raises `InputError` unless a folder can be made there without replacing anything."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder", "choose another folder with --out")


def export_adapter(
    run: OpenRun, out: Path, user: str | None = None, position: int | None = None, rank: int | None = None
) -> Exported:
    """Writes one user's adapter, or without a user the whole one as a uniform gate would give it.

    Args:
        run: a run of LoRA or iLoRA.
        out: a folder that is not there yet, or empty.
        user: whose history the gate reads.
        position: which item of the user's sequence would be predicted; the gate reads what comes before it.
            The last one if left out, as in the benchmark's test set `last`.
        rank: at most this rank; 16 if left out, or the trained one where that is smaller.

    Raises:
        InputError: the run has no adapter or no gate to fold, or there is no such user, position or rank.
    """
    check_destination(out)
    model: AdaptedModel | None = getattr(run.recommender, "model", None)
    if model is None or not hasattr(model, "folded"):
        raise InputError(
            f"{run.info.path} is a {run.info.method} run, without an adapter", "give an iLoRA run"
        )
    if user is not None and model.gate is None:
        raise InputError(
            "plain LoRA is the same for every user", "leave --user out to export the whole adapter"
        )
    history: tuple[int, ...] = ()
    if user is not None:
        position, history = _history(run.dataset, user, position)
    omega = model.expert_weights([history]) if history else None
    updates = model.folded(history or None)
    trained = run.info.config.adapter.rank
    updates, lost = reduce_rank(updates, MAX_RANK if rank is None else rank)
    exported = Exported(
        folder=out,
        user=user,
        position=position if user is not None else None,
        history=history,
        omega=() if omega is None else tuple(float(weight) for weight in omega[0]),
        rank=next(iter(updates.values())).rank,
        trained_rank=trained,
        lost=lost,
        base_model=base_model(run.info.config.model.name),
    )
    try:
        with atomic_path(out) as temporary:
            temporary.mkdir()
            save_updates(temporary, updates, model.peft.peft_config[ADAPTER], exported.base_model)
            (temporary / MODEL_CARD).write_text(_card(run, exported), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write {out}: {error.strerror}", "choose another folder with --out"
        ) from error
    return exported


def _history(dataset: Dataset, user: str, position: int | None) -> tuple[int, tuple[int, ...]]:
    if user not in dataset.sequences:
        some = ", ".join(list(dataset.sequences)[:5])
        raise InputError(f"no user {user} in {dataset.name}", f"there are users such as {some}")
    sequence = dataset.sequences[user]
    last = len(sequence.items) - 1
    position = last if position is None else position
    if not 1 <= position <= last:
        raise InputError(f"user {user} has no position {position} to predict", f"choose from 1 to {last}")
    return position, history_of(sequence, position, dataset.card.rules)


def size_in_words(exported: Exported) -> str:
    """Rank, and what cutting it lost."""
    if exported.rank == exported.trained_rank:
        return f"Rank {exported.rank}, as trained: nothing was cut."
    return (
        f"Rank {exported.rank}, cut from {exported.trained_rank} by singular value decomposition: "
        f"{100 * exported.lost:.1f} % of the update's norm is lost."
    )


def omega_in_words(omega: Sequence[float], scope: str) -> str:
    """The gate's weights for a model card."""
    weights = ", ".join(f"{weight:.3f}" for weight in omega)
    where = {"shared": "shared by all layers"}.get(scope, f"mean over the layers; the gate is {scope}")
    return f"Expert weights ω of this history: {weights} ({where})."


def _card(run: OpenRun, exported: Exported) -> str:
    config, titles = run.info.config, run.dataset.catalogue.titles
    return user_card(
        method=run.info.method,
        config=config,
        dataset=run.dataset.card,
        user=exported.user,
        history=[titles[item] for item in exported.history],
        omega=omega_in_words(exported.omega, config.gate.scope),
        size=size_in_words(exported),
    )
