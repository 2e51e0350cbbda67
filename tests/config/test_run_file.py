"""A run file repeats a run: all settings go out and come back, and what no run knows is named with a hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config.presets import PRESETS, preset_config
from core.config.run_file import RunFile, read_run_file, resolve, run_file_text
from core.config.settings import RunConfig
from core.errors import InputError
from tests import tiny


def written(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "config",
    [*(preset_config(name) for name in PRESETS if name != "auto"), tiny.config('odd "name" ü\\')],
    ids=[*PRESETS[:-1], "tiny"],
)
def test_every_setting_comes_back_whatever_the_preset_below(tmp_path: Path, config: RunConfig) -> None:
    file = read_run_file(written(tmp_path, run_file_text(config, "ilora", 3, "quick")))
    assert (file.method, file.seed, file.preset) == ("ilora", 3, "quick")
    for below in ("quick", "paper"):
        assert resolve(below, file.settings) == config


def test_what_is_left_out_is_as_the_preset_says_and_later_layers_win(tmp_path: Path) -> None:
    file = read_run_file(written(tmp_path, "[training]\nsamples = 5\nlearning_rate = 1\n"))
    assert (file.method, file.seed, file.preset) == (None, None, None)
    config = resolve("standard", file.settings, {"training": {"samples": 7}})
    assert config.training.samples == 7
    assert config.training.learning_rate == 1.0
    assert config.encoder == preset_config("standard").encoder
    assert resolve("quick", RunFile().settings) == preset_config("quick")


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("[training]\nsmaples = 5", "unknown key training.smaples", "did you mean samples?"),
        ("[trianing]\nsamples = 5", "unknown key trianing", "did you mean training?"),
        ("[data]\nzzz = 5", "unknown key data.zzz", "known here: candidates, cold_items, dataset"),
        ("metod = 'ilora'", "unknown key metod", "did you mean method?"),
        ("seed = 'one'", "seed is 'one'", "seed = 0"),
        ("seed = true", "seed is True", "seed = 0"),
        ("method = 1", "method is 1", 'method = "ilora"'),
        ("training = 5", "training is not a table", "[training]"),
        ("method = ilora", "is not TOML", "quotes"),
        ("[training]\nsamples = 'many'", "'training.samples' must be a whole number", "many"),
        ("[adapter]\nexperts = 3", "3 experts do not divide rank", "divide"),
        ("[adapter]\ntargets = 'q_proj'", "'adapter.targets' must be a list", "q_proj"),
    ],
)
def test_what_no_run_knows_is_one_line_with_a_hint(tmp_path: Path, text: str, says: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve("quick", read_run_file(written(tmp_path, text)).settings)
    assert says in caught.value.title
    assert hint in caught.value.hint


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "bytes.toml"):
        with pytest.raises(InputError, match="cannot be read"):
            read_run_file(path)
