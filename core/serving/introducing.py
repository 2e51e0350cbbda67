"""What a screen is told of an opened run before it asks anything: run, catalogue, users, gates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.events import Event
from core.methods import record_of
from core.records import plain
from core.runs.demo import DEMO, is_demo, opening
from core.runs.store import RunInfo
from core.serving.listing import Listing
from core.serving.protocol import ExpertListed, GatesListed, Opened, RunListed

if TYPE_CHECKING:
    from core.serving.session import Session


def run_listed(info: RunInfo, path: str = "") -> RunListed:
    """A run as a screen lists it.

    Args:
        info: the run.
        path: what it is called; its folder if not given.
    """
    return {
        "path": path or str(info.path),
        "dataset": info.dataset,
        "split": info.split,
        "method": info.method,
        "seed": info.seed,
        "created": info.created,
        "samples_sha256": info.samples_sha256,
        "metrics": info.metrics,
        "demo": is_demo(info.path),
        "model": info.config.model.name if record_of(info.method).needs_llm else None,
    }


def introduction(
    number: int, seconds: float, info: RunInfo | None, listing: Listing, method: str = "", path: str = ""
) -> Iterator[Event]:
    """What is being opened, and its catalogue and users in pieces; the model may still be loading.

    Args:
        number: of the request.
        seconds: since it was asked for.
        info: the run; None where the sequence encoder alone answers.
        listing: its data.
        method: the one that answers, where there is no run.
        path: what the run is called; its folder if not given.
    """
    begin = opening() if info and info.path == DEMO else None
    method = info.method if info else method
    yield Opened(
        request=number,
        run=(path or str(info.path)) if info else None,
        method=method,
        dataset=listing.dataset,
        title=listing.title,
        split=listing.split,
        seed=info.seed if info else 0,
        model=info.config.model.name if info and record_of(info.method).needs_llm else None,
        experts=info.config.adapter.experts if info and record_of(method).has_gate else 0,
        min_history=listing.min_history,
        max_history=listing.max_history,
        items=len(listing.titles),
        users=len(listing.users),
        metrics=info.metrics if info else {},
        seconds=seconds,
        first=begin.user if begin else None,
        why_first=begin.rule if begin else "",
    )
    yield from listing.events(number)


def gates_listed(number: int, session: Session) -> GatesListed:
    """What the gate makes of every user, and what wakes each expert."""
    users, _ = session.gates()
    profiles: list[ExpertListed] = [plain(profile) for profile in session.profiles()]
    return GatesListed(number, users, [round(side, 5) for side in session.one_sided()], profiles)
