"""Settings as files hold them: what older files leave out or still name, and what a checksum covers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from core.config.checks import check
from core.config.settings import OLDER, PARTS, RETIRED, DataConfig, RunConfig
from core.errors import DataError, InputError
from core.records import build

FIRST_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "data": (
        "dataset", "split", "samples_seed", "spread_positions", "validation_positions", "test_users",
    ),
    "model": ("name", "revision", "quantize"),
    "encoder": (
        "kind", "tune", "width", "layers", "heads", "dropout", "learning_rate", "weight_decay", "batch_size",
        "epochs", "steps", "patience",
    ),
    "adapter": ("rank", "alpha", "dropout", "targets", "layers", "experts"),
    "gate": ("kind", "scope", "input", "kept", "noise", "balance", "entropy"),
    "training": (
        "objective", "samples", "batch_size", "micro_batch_size", "learning_rate", "gate_rate_multiplier",
        "warmup", "final_rate", "weight_decay", "clip", "validations", "validation_cases", "candidates",
        "encoder_prior", "item_slots", "curriculum", "checkpointing",
    ),
    "answering": ("protocol",),
    "chat": ("url", "model", "price_in", "price_out", "answer_tokens", "timeout", "tries"),
}  # fmt: skip
"""The settings of the first format, which every file has and every checksum covers. Nothing is added here.

A setting that is not listed came later: a file that lacks it means its default, or what `OLDER` says in the
field's metadata, and it enters a checksum only where it says something else. So it changes no older checksum.
"""
OPTIONAL = ("chat",)
"""Parts of the first format that a file leaves out where they say nothing."""
SELDOM = ("chat", "distillation")
"""Parts that most runs do not have: they stand in a file only if they are set."""
_NEWER = "a newer version may have made it: update ilora-app"


def record_of_config(config: RunConfig) -> dict[str, Any]:
    """Nested plain values, in which `config_of` finds the same config again."""
    record = dataclasses.asdict(config)
    record["adapter"]["targets"] = list(config.adapter.targets)
    return {part: values for part, values in record.items() if not _says_nothing(config, part)}


def _says_nothing(config: RunConfig, part: str) -> bool:
    return part in SELDOM and getattr(config, part) == PARTS[part]()


def config_of(record: Any) -> RunConfig:
    """The config that a file of this or an older version holds.

    Raises:
        InputError: a setting is unknown or missing, or has the wrong type or breaks a rule.
    """
    check(isinstance(record, dict), "a run's config is no table", f"expected {sorted(PARTS)}")
    if unknown := sorted(str(part)[:60] for part in record.keys() - PARTS.keys()):
        raise InputError(f"a run's config has the unknown part {unknown[0]}", _NEWER)
    parts: dict[str, Any] = {}
    for part, kind in PARTS.items():
        if part not in record and (part in OPTIONAL or part not in FIRST_SETTINGS):
            parts[part] = kind(**_older(part)) if part not in OPTIONAL else kind()
            continue
        values = record.get(part)
        check(isinstance(values, dict), f"the config lacks the part {part}", "run the benchmark again")
        parts[part] = _part(part, kind, values)
    return RunConfig(**parts)


def _part(part: str, kind: Any, values: Mapping[str, Any]) -> Any:
    values = {name: value for name, value in values.items() if name not in RETIRED.get(part, ())}
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(f"{part}.{name}"[:60] for name in values.keys() - known):
        title = f"the config has other keys than this version knows: {', '.join(unknown[:3])}"
        raise InputError(title, _NEWER)
    if missing := [name for name in FIRST_SETTINGS.get(part, ()) if name not in values]:
        raise InputError(f"the config lacks {part}.{missing[0]}", "run the benchmark again")
    try:
        return build(kind, {**_older(part), **values}, part)
    except DataError as error:
        raise InputError(error.title, error.hint) from error


def _older(part: str) -> dict[str, Any]:
    """The later settings of a part, each with what its absence means."""
    first = FIRST_SETTINGS.get(part, ())
    return {
        field.name: field.metadata.get(OLDER, field.default)
        for field in dataclasses.fields(PARTS[part])
        if field.name not in first
    }


def older_value(part: str, name: str) -> Any:
    """What a file means that lacks this setting; None for settings that every file has."""
    return _older(part).get(name) if part in PARTS else None


def without_news(part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A part's settings, the later ones left out where they say what older versions did."""
    older = _older(part)
    return {name: value for name, value in values.items() if name not in older or value != older[name]}


def withholding(data: DataConfig) -> dict[str, Any]:
    """Those data settings that keep something from training, where they do; a checksum may hold them."""
    names = ("test_from", "cold_items")
    return without_news("data", {name: getattr(data, name) for name in names})


def lasting(config: RunConfig) -> dict[str, Any]:
    """The settings that a checksum covers; a setting more changes none of a run that leaves it alone."""
    record = {part: without_news(part, values) for part, values in config.to_dict().items()}
    return {part: values for part, values in record.items() if values or part in FIRST_SETTINGS}
