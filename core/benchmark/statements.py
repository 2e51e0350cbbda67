"""What a result states about how it came about, beside its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.config.moments import said
from core.config.settings import RunConfig
from core.data.samples import last_positions, later_than_test
from core.data.types import Dataset, Samples
from core.events import PlanMade
from core.method import COUNTING
from core.methods import METHODS
from core.recommenders.popularity import item_counts
from core.results.format import Lateness
from core.results.withheld import Withheld
from core.training import parallel

if TYPE_CHECKING:
    from core.benchmark.run import Plan


def lateness(dataset: Dataset, samples: Samples) -> Lateness | None:
    """How many training interactions are later than the earliest test case; None without times."""
    found = later_than_test(dataset, samples)
    return None if found is None else Lateness(*found)


def withheld(dataset: Dataset, samples: Samples) -> Withheld | None:
    """What the split keeps from training; None where there is neither a moment nor a cold item."""
    if not (samples.moments or samples.cold):
        return None
    trained, counts = last_positions(samples.train), item_counts(dataset, samples)
    asked, moments = samples.asked.values(), samples.moments
    return Withheld(
        items=len(dataset.catalogue),
        withheld_items=len(samples.withheld),
        new_users=len({case.user for case in asked} - trained.keys()),
        new_targets=sum(not counts[case.target] for case in asked),
        cold_items=len(samples.cold),
        test_from=said(moments.test) if moments else None,
        validation_from=said(moments.validation) if moments else None,
    )


def note_on_withheld(samples: Samples, method: str, item_tokens: bool = False) -> list[str]:
    """What a method makes of items that training never meets."""
    record, items = METHODS[method], f"the {len(samples.withheld):,} items that training never meets"
    if not samples.withheld:
        return []
    if record.kind == COUNTING:
        return [f"{items} have a count of 0"]
    if record.is_encoder and not record.needs_llm:
        return [f"{items} have the mean vector of all others"]
    if record.needs_llm and not record.is_encoder and "encoder" in record.reads:
        told = "tokens are made from" if item_tokens else "slots are empty, and the encoder has for them"
        return [f"{items}: {told} the mean vector of all others"]
    return [f"{items} are known by their titles"]


def notes_on(samples: Samples, method: str, item_tokens: bool) -> list[str]:
    """All that a result says of its users, of withheld items and of processes."""
    processes = notes_on_processes(METHODS[method].needs_llm)
    withholding = note_on_withheld(samples, method, item_tokens)
    return [*note_on_users(samples), *withholding, *processes]


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
    if has_llm and parallel.is_sharded():
        notes.append("the language model's layers were sharded over the processes")
    return notes


def model_version(config: RunConfig, method: str) -> dict[str, str]:
    """Of a hub model the commit that was used, which a branch's name does not tell."""
    if not METHODS[method].needs_llm:
        return {}
    from core.lm.shape import resolved_commit

    commit = resolved_commit(config.model)
    return {"model": commit} if commit else {}


def plan_event(plan: Plan, samples: Samples, minutes: float) -> PlanMade:
    """What a benchmark says before it starts; `minutes` is what all of it will take here."""
    return PlanMade(
        dataset=samples.dataset,
        split=samples.split,
        preset=plan.preset or "custom",
        methods=plan.ordered,
        seeds=list(plan.seeds),
        config=plan.config.to_dict(),
        minutes=minutes,
        samples_sha256=samples.sha256,
        cases={name: len(cases) for name, cases in samples.test.items()},
        tuned={method: found.config.to_dict() for method, found in plan.tuned.items()},
    )
