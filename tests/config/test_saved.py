"""Settings that came later change nothing in older files: neither what they mean nor their checksums."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from core.benchmark.run import method_config
from core.config import saved
from core.config.saved import FIRST_SETTINGS, lasting, older_value
from core.config.settings import PARTS, EncoderConfig, RunConfig
from core.errors import InputError
from core.results.checking import config_sha256
from core.runs.demo import DEMO
from core.runs.store import read_run

KEPT = Path(__file__).parents[1] / "fixtures" / "first-format"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if `encoder.patience` and the part `gate` had been added just now."""
    first = {part: names for part, names in FIRST_SETTINGS.items() if part != "gate"}
    first["encoder"] = tuple(name for name in first["encoder"] if name != "patience")
    monkeypatch.setattr(saved, "FIRST_SETTINGS", first)


def test_every_setting_of_the_first_format_is_still_one() -> None:
    for part, names in FIRST_SETTINGS.items():
        assert set(names) <= {field.name for field in dataclasses.fields(PARTS[part])}


@pytest.mark.usefixtures("later")
def test_a_file_from_before_a_setting_means_its_default() -> None:
    record = RunConfig().to_dict()
    del record["encoder"]["patience"], record["gate"]
    assert RunConfig.from_dict(record) == RunConfig()
    assert older_value("encoder", "patience") == EncoderConfig().patience
    assert older_value("encoder", "width") is None


@pytest.mark.usefixtures("later")
def test_a_later_setting_is_in_the_checksum_only_where_it_says_something_else() -> None:
    assert "patience" not in lasting(RunConfig())["encoder"]
    assert "gate" not in lasting(RunConfig())
    other = RunConfig(encoder=EncoderConfig(patience=9))
    assert lasting(other)["encoder"]["patience"] == 9
    assert "patience" not in method_config(RunConfig(), "sasrec")["encoder"]
    assert method_config(other, "sasrec")["encoder"]["patience"] == 9


@pytest.mark.parametrize(
    ("part", "name", "says"),
    [("adapter", "rank2", "adapter.rank2"), ("more", "x", "unknown part more")],
)
def test_an_unknown_setting_is_refused_in_one_line(part: str, name: str, says: str) -> None:
    record = RunConfig().to_dict()
    record.setdefault(part, {})[name] = 1
    with pytest.raises(InputError) as caught:
        RunConfig.from_dict(record)
    assert says in caught.value.title and "\n" not in caught.value.title


@pytest.mark.parametrize("folder", [*(KEPT / "models").iterdir(), DEMO], ids=lambda path: path.name)
def test_the_checksum_of_an_old_result_is_found_again(folder: Path, tiny_home: Path) -> None:
    info = read_run(folder)
    stored = json.loads((folder / "result.json").read_text(encoding="utf-8"))["config_sha256"]
    assert config_sha256(method_config(info.config, info.method)) == stored
