"""What a result states about how it came about, beside its figures."""

from __future__ import annotations

from core.config.settings import RunConfig
from core.data.samples import last_positions, later_than_test
from core.data.types import Dataset, Samples
from core.methods import METHODS
from core.results.format import Lateness
from core.training import parallel


def lateness(dataset: Dataset, samples: Samples) -> Lateness | None:
    """How many training interactions are later than the earliest test case; None without times."""
    found = later_than_test(dataset, samples)
    return None if found is None else Lateness(*found)


def note_on_users(samples: Samples) -> list[str]:
    """What a result says where not all test users were asked, or not all training users trained."""
    notes = []
    if samples.left_out:
        asked = len({case.user for cases in samples.test.values() for case in cases})
        notes.append(f"{asked} of {asked + samples.left_out} test users were asked, always the same ones")
    if samples.untrained:
        trained = len(last_positions(samples.train))
        notes.append(f"{trained} of {trained + samples.untrained} training users trained, a fixed draw")
    return notes


def model_of(config: RunConfig, method: str) -> str | None:
    """The language model behind a method, wherever it runs."""
    if METHODS[method].is_remote:
        return config.chat.model
    return config.model.name if METHODS[method].needs_llm else None


def notes_on_processes(has_llm: bool) -> list[str]:
    """What a result says about a run of several processes."""
    if parallel.size() == 1:
        return []
    notes = [f"shared by {parallel.size()} processes"]
    if has_llm and parallel.is_spread():
        notes.append("the language model's layers were spread over the processes")
    return notes


def model_version(config: RunConfig, method: str) -> dict[str, str]:
    """Of a hub model the commit that was used, which a branch's name does not tell."""
    if not METHODS[method].needs_llm:
        return {}
    from core.lm.loading import resolved_commit

    commit = resolved_commit(config.model)
    return {"model": commit} if commit else {}
