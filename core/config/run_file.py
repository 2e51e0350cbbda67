"""Run files: one training run as TOML, written beside what it made and read again to repeat it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from core.config.bounds import SEED
from core.config.presets import preset_config
from core.config.settings import RETIRED, RunConfig
from core.errors import DataError, InputError
from core.records import build, read_text, shown, toml_of

NAME = "config.toml"
"""What a run file is called inside a run folder."""
DISTILLATION = "distillation"
"""The part that only a student's settings have."""
TOP = {"method": str, "seed": int, "preset": str}
"""Keys outside the parts of the config."""


@dataclass(frozen=True)
class RunFile:
    """What a run file says; what it leaves out is up to the command line and the preset."""

    method: str | None = None
    seed: int | None = None
    preset: str | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Part of the config -> setting -> value, not checked yet."""


def run_file_text(config: RunConfig, method: str, seed: int, preset: str | None) -> str:
    """Every setting of a run as TOML; settings that are None are left out."""
    top = {"method": method, "seed": seed, "preset": preset}
    record = {name: value for name, value in top.items() if value is not None}
    for part, values in config.to_dict().items():
        record[part] = {name: value for name, value in values.items() if value is not None}
    first = f"ilora-app {'distil TEACHER' if DISTILLATION in record else 'train config.toml'}"
    return f"# Repeats this run: {first}\n" + tomli_w.dumps(record)


def read_run_file(path: Path) -> RunFile:
    """A run file's content.

    Raises:
        InputError: it cannot be read, is no TOML, or has a key that no run has.
    """
    try:
        record = toml_of(read_text(path), str(path))
    except DataError as error:
        raise InputError(error.title, error.hint) from error
    known = RunConfig().to_dict()
    for name, value in record.items():
        if name in TOP:
            if type(value) is not TOP[name]:
                raise InputError(f"{path}: {name} is {shown(value)}", f"write {name} = {_example(name)}")
            if name == "seed" and isinstance(value, int):
                SEED.check(value)
        elif name not in known and name == DISTILLATION:
            raise InputError(
                f"{path} is a student's: it needs its teacher",
                "ilora-app distil RUN trains a student of a run",
            )
        elif name not in known:
            raise InputError(f"{path}: unknown key {name}", _closest(name, [*TOP, *known]))
        elif not isinstance(value, dict):
            raise InputError(f"{path}: {name} is not a table", f"write its settings below [{name}]")
        else:
            for key in value:
                if key not in known[name] and key not in RETIRED.get(name, ()):
                    raise InputError(f"{path}: unknown key {name}.{key}", _closest(key, known[name]))
    settings = {name: values for name, values in record.items() if name not in TOP}
    return RunFile(record.get("method"), record.get("seed"), record.get("preset"), settings)


def resolve(preset: str, *layers: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    """The preset's settings with those of each layer in place, the last one winning.

    Raises:
        InputError: there is no such preset, or a value has the wrong type or breaks a rule.
    """
    record = preset_config(preset).to_dict()
    for layer in layers:
        for part, values in layer.items():
            record[part] |= values
    for part, names in RETIRED.items():
        for name in names:
            record[part].pop(name, None)
    plain = {
        part: {name: value for name, value in values.items() if value is not None}
        for part, values in record.items()
    }
    try:
        return build(RunConfig, plain)
    except DataError as error:
        raise InputError(error.title, error.hint) from error


def _example(name: str) -> str:
    return "0" if TOP[name] is int else '"ilora"' if name == "method" else '"quick"'


def _closest(name: str, known: Iterable[str]) -> str:
    """The hint for a name that is not known: what was meant, or what there is."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}"
