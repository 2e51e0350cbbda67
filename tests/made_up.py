"""Made-up results for tests: plausible in form, random in substance, never shown to anyone else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.results.case_facts import CaseFacts
from core.results.format import Case, CaseAnswer, Parameters, Result, measure

STRENGTHS = {"popularity": 0.10, "sasrec": 0.50, "zero-shot": 0.05, "lora": 0.42, "ilora": 0.46}
"""Chance of ranking the target first."""

TRAINABLE = {"sasrec": 120_000, "lora": 2_479_240, "ilora": 2_479_496}

LLM = {"objective": "listwise", "model": "made-up-135M", "quantization": "nf4"}


def cases(strength: float, seed: int = 0, users: int = 28, positions: int = 10) -> tuple[Case, ...]:
    """Cases on `spread` (several positions a user) and `last` (one each), ranks among 20 candidates."""
    stream = np.random.default_rng(seed)
    shapes = {"spread": range(positions), "last": [positions - 1]}
    return tuple(
        Case(test_set, str(user), 3 + position, _rank(stream, strength))
        for test_set, places in shapes.items()
        for user in range(users)
        for position in places
    )


def case_facts(places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], CaseFacts]:
    """Facts of cases: popularity without pattern, histories that grow with the position."""
    stream = np.random.default_rng(5)
    return {
        place: CaseFacts(int(stream.integers(0, 300)), min(10, place[1]), bool(stream.random() < 0.1))
        for place in places
    }


def _rank(stream: np.random.Generator, strength: float) -> int:
    return 1 if stream.random() < strength else int(stream.integers(2, 21))


def result(method: str = "ilora", seed: int = 0, **changes: Any) -> Result:
    """A result of a method; `changes` replace fields, and metrics follow the cases."""
    asked = changes.pop("cases", None) or cases(STRENGTHS.get(method, 0.3), seed=hash_of(method) + seed)
    has_llm = method in ("zero-shot", "lora", "ilora")
    adapter = 2_442_240 if method in ("lora", "ilora") else 0
    fields: dict[str, Any] = {
        "dataset": "movielens",
        "split": "paper",
        "method": method,
        **(LLM if has_llm else {"objective": None, "model": None, "quantization": None}),
        "preset": "quick",
        "seed": seed,
        "config": {"method": method, "preset": "quick", "rank": 16 if adapter else 0},
        "samples_sha256": "5a" * 32,
        "metrics": measure(asked),
        "cases": asked,
        "parameters": Parameters(
            trainable=TRAINABLE.get(method, 0),
            adapter=adapter,
            extra_over_lora=256 if method == "ilora" else 0,
            total=134_515_008 if has_llm else 120_000,
        ),
        "timings": timings(method),
        "peak_memory_bytes": 2_100_000_000 if has_llm else 410_000_000,
        "versions": {"python": "3.12.3", "numpy": "2.2.1"},
        "command": "ilora-app bench --dataset movielens",
        "created": "2026-03-01T10:00:00+00:00",
        "history": ({"step": 100, "HR@1": 0.41},),
        "notes": ("made up",),
    }
    return Result(**{**fields, **changes})


def answered(
    method: str = "ilora", seed: int = 0, strength: float = 0.4, valid: float = 0.8, **changes: Any
) -> Result:
    """A result of a method that was asked to write its answer."""
    stream = np.random.default_rng(hash_of(method) + seed)
    asked = []
    for case in cases(strength, hash_of(method) + seed):
        hit = case.rank == 1
        exact, within = hit or bool(stream.random() < valid), bool(stream.random() < 0.9)
        given = CaseAnswer("Fargo" if exact else "no such film", exact, within, within and hit)
        asked.append(dataclasses.replace(case, rank=1 if hit else 20, answer=given))
    fields = {
        "objective": "language-model",
        "config": {"method": method, "rank": 16, "answering": {"protocol": "generate"}},
    }
    return result(method, seed, cases=tuple(asked), **{**fields, **changes})


def timings(method: str) -> Mapping[str, float]:
    """Plausible timings; methods that do not train have no training time."""
    if method in ("popularity", "zero-shot"):
        return {
            "load_seconds": 1.5,
            "test_seconds": 30.0,
            "ms_per_user": 0.1 if method == "popularity" else 104.2,
        }
    return {
        "load_seconds": 2.1,
        "train_seconds": 421.4 if method != "sasrec" else 118.0,
        "test_seconds": 33.0,
        "samples_per_second": 1.9 if method != "sasrec" else 2210.0,
        "ms_per_user": 110.3 if method != "sasrec" else 0.31,
    }


def hash_of(text: str) -> int:
    """A small number from text, the same in every process."""
    return sum(ord(letter) * place for place, letter in enumerate(text, 1))


def five_methods(seeds: int = 1) -> list[Result]:
    """One result per method and seed, all on the same cases."""
    return [result(method, seed) for method in STRENGTHS for seed in range(seeds)]


def with_ranks(made: Result, ranks: Mapping[int, int]) -> Result:
    """The same result with some ranks replaced and metrics that follow."""
    asked = tuple(
        dataclasses.replace(case, rank=ranks.get(place, case.rank)) for place, case in enumerate(made.cases)
    )
    return dataclasses.replace(made, cases=asked, metrics=measure(asked))
