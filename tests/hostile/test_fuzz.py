"""Whatever a stranger's file says, it is read right or refused in the program's own words."""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from core.config.run_file import read_run_file, resolve
from core.config.settings import ModelConfig
from core.data.card_files import load_card, parse_card
from core.errors import DataError, IloraError
from core.ilora.attaching import check_settings
from core.ilora.model import ADAPTER_FILE, REST_FILE, SETTINGS_FILE, AdaptedModel
from core.lm.checking import try_model
from core.results.store import load_result
from core.runs.demo import DEMO
from core.runs.store import list_runs, read_run
from core.serving.protocol import Request
from tests import tiny
from tests.data import made_up as cards

FAST = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
ODD = st.sampled_from(
    [10**400, -1, 2**53, 1e308, "", "\x1b[31m", "\ud800", "../../z", "a" * 5000, "\0", "[/]", "=1"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
RUN = json.loads((DEMO / "run.json").read_text(encoding="utf-8"))
RESULT = json.loads((DEMO / "result.json").read_text(encoding="utf-8"))
SETTINGS = json.loads((DEMO / "adapter_config.json").read_text(encoding="utf-8"))


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a record, long lists by their beginning."""
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    )
    return [above, *(place for key, entry in inner for place in places(entry, (*above, key)))]


def changed(record: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy of a record with another value at one place."""
    if not place:
        return value
    copy: Any = dict(record) if isinstance(record, dict) else list(record)
    copy[place[0]] = changed(record[place[0]], place[1:], value)
    return copy


def written(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def peak() -> int:
    """The most bytes of memory that this process ever held."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024


def tried(read: Callable[[], object]) -> bool:
    """Reads, or fails in the program's own words, never in over 10 s or 2 GB; whether it read."""
    before, began = peak(), time.monotonic()
    try:
        read()
        return True
    except IloraError as error:
        assert error.title and error.exit_code == 2
        return False
    finally:
        assert time.monotonic() - began < 10
        assert peak() - before < 2e9


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO, tmp_path / "out" / "models" / "shared"))


@FAST
@given(place=st.sampled_from(places(RUN)), value=VALUES)
def test_run_cards(shared: Path, place: tuple[Any, ...], value: Any) -> None:
    (shared / "run.json").write_bytes(written(changed(RUN, place, value)))
    tried(lambda: read_run(shared))
    runs, problems = list_runs(shared.parent.parent)
    assert len(runs) + len(problems) == 1


@FAST
@given(place=st.sampled_from([p for p in places(RESULT) if p]), value=VALUES)
def test_results(tmp_path: Path, place: tuple[Any, ...], value: Any) -> None:
    (tmp_path / "a.json").write_bytes(written(changed(RESULT, place, value)))
    tried(lambda: load_result(tmp_path / "a.json"))


@FAST
@given(place=st.sampled_from(places(SETTINGS)), value=VALUES)
def test_settings_of_an_adapter(place: tuple[Any, ...], value: Any) -> None:
    from peft import LoraConfig

    own = LoraConfig(r=16, target_modules=["q_proj"])
    tried(lambda: check_settings(changed(SETTINGS, place, value), own, Path("adapter_config.json")))


@FAST
@given(data=st.binary(max_size=200))
def test_bytes_for_any_file(shared: Path, data: bytes) -> None:
    for name in ("run.json", "config.toml", "result.json"):
        (shared / name).write_bytes(data)
    tried(lambda: read_run(shared))
    tried(lambda: read_run_file(shared / "config.toml"))
    tried(lambda: load_result(shared / "result.json"))
    tried(lambda: load_card(shared / "config.toml"))


CARD_LINES = cards.card().splitlines()
RUN_LINES = (DEMO / "config.toml").read_text(encoding="utf-8").splitlines()
PIECES = st.sampled_from(
    ["5", "-1", "nan", "inf", '""', '"../../z"', "[]", "[[]]", "{}", "true", "1979-05-27", "9" * 5000,
     '"\\u001b[31m"', "[" * 500 + "]" * 500, "a.a.a = 1", '"x', "0x7fffffffffffffffffffffff", "1e999"]
)  # fmt: skip


def spoiled(lines: list[str], at: int, piece: str) -> str:
    """A TOML text with another value on one line."""
    line = lines[at % len(lines)]
    key, equals, _ = line.partition(" = ")
    return "\n".join(
        [*lines[: at % len(lines)], f"{key} = {piece}" if equals else piece, *lines[at % len(lines) + 1 :]]
    )


@FAST
@given(at=st.integers(0, 500), piece=PIECES)
def test_cards_and_run_files(tmp_path: Path, at: int, piece: str) -> None:
    tried(lambda: parse_card(spoiled(CARD_LINES, at, piece), "made-up.toml"))
    (tmp_path / "config.toml").write_text(spoiled(RUN_LINES, at, piece), encoding="utf-8")
    tried(lambda: resolve("quick", read_run_file(tmp_path / "config.toml").settings))


# --- a model's folder --------------------------------------------------------------------------------------

SAID = ("config.json", "tokenizer.json", "tokenizer_config.json")


@settings(FAST, max_examples=25)
@given(data=st.data(), value=VALUES, at=st.floats(0, 1), new=st.binary(max_size=6), whole=st.booleans())
def test_settings_of_a_model_folder(
    tiny_model: Path,
    own_home: Path,
    tmp_path: Path,
    data: st.DataObject,
    value: Any,
    at: float,
    new: bytes,
    whole: bool,
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "m", dirs_exist_ok=True))
    file = folder / data.draw(st.sampled_from(SAID))
    content = file.read_bytes()
    place = int(at * len(content))
    record = json.loads(content)
    if whole:
        path = data.draw(st.sampled_from([p for p in places(record) if len(p) < 4]))
        content = written(changed(record, path, value))
    else:
        content = content[:place] + new + content[place + len(new) :]
    file.write_bytes(content)
    tried(lambda: try_model(ModelConfig(name=str(folder), quantize="none", precision="float32")))


# --- an adapter's folder -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AdaptedModel, Path]]:
    """A small iLoRA and the folder that it was saved to."""
    folder = tmp_path_factory.mktemp("adapter")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in tiny.install(folder / "home", folder / "mirror").items():
            patch.setenv(name, value)
        prompts = load_card("tiny").prompts
        settings = tiny.config()
        model = AdaptedModel(tiny.language_model(), tiny.encoder(), tiny.TITLES, prompts, settings, True, 0)
        (folder / "run").mkdir()
        model.save(folder / "run")
        yield model, folder / "run"


def halved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[: tensor.shape[0] // 2].clone() if tensor.dim() else tensor.reshape(1)


def with_one(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed.view(-1)[-1:] = value
        return changed

    return change


BENT: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
    "missing": lambda tensor: None,
    "shorter": halved,
    "flat": lambda tensor: tensor.reshape(1, *tensor.shape),
    "empty": lambda tensor: torch.zeros(0),
    "huge": lambda tensor: torch.zeros(1 << 22),
    "nan": with_one(float("nan")),
    "infinite": with_one(float("inf")),
    "int8": lambda tensor: tensor.to(torch.int8),
    "bool": lambda tensor: tensor.bool(),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "half": lambda tensor: tensor.half(),
    "float8": lambda tensor: tensor.to(torch.float8_e4m3fn),
    "double": lambda tensor: tensor.double(),
}
HARMLESS = {"half", "float8", "double"}
"""Other widths of the same numbers may be read."""


@FAST
@given(
    file=st.sampled_from([ADAPTER_FILE, REST_FILE]), at=st.integers(0, 99), way=st.sampled_from(list(BENT))
)
def test_weights_of_an_adapter(
    adapter: tuple[AdaptedModel, Path], tmp_path: Path, file: str, at: int, way: str
) -> None:
    model, whole = adapter
    folder = Path(shutil.copytree(whole, tmp_path / "run", dirs_exist_ok=True))
    tensors = load_file(whole / file)
    name = sorted(tensors)[at % len(tensors)]
    bent = BENT[way](tensors.pop(name))
    save_file(tensors if bent is None else {**tensors, name: bent.contiguous()}, folder / file)
    if tried(lambda: model.load(folder)):
        assert way in HARMLESS or (bent is not None and torch.equal(bent, load_file(whole / file)[name])), (
            name
        )
        assert all(torch.isfinite(weight).all() for weight in model.state().values())


@FAST
@given(
    file=st.sampled_from([ADAPTER_FILE, REST_FILE, SETTINGS_FILE]),
    kept=st.floats(0, 1),
    at=st.floats(0, 1),
    new=st.binary(max_size=9),
)
def test_files_of_an_adapter_that_are_cut_off_or_overwritten(
    adapter: tuple[AdaptedModel, Path], tmp_path: Path, file: str, kept: float, at: float, new: bytes
) -> None:
    model, whole = adapter
    folder = Path(shutil.copytree(whole, tmp_path / "run", dirs_exist_ok=True))
    content = (whole / file).read_bytes()[: int(kept * (whole / file).stat().st_size)]
    place = int(at * len(content))
    (folder / file).write_bytes(content[:place] + new + content[place + len(new) :])
    tried(lambda: model.load(folder))
    model.load(whole)  # what failed half-way does not stay


KINDS = ("Survey", "Fetch", "Open", "Rank", "Why", "Differences", "Estimate", "Nonsense")
FIELDS = ("request", "out", "dataset", "run", "question", "item", "candidates", "methods", "seeds", "other")


@FAST
@given(
    kind=st.sampled_from(KINDS) | VALUES,
    fields=st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), VALUES, max_size=6),
)
def test_lines_for_the_engine(kind: Any, fields: dict[str, Any]) -> None:
    tried(lambda: Request.from_json(json.dumps({"ask": kind, **fields})))


@FAST
@given(line=st.text(max_size=80) | st.integers(0, 20_000).map(lambda n: "[" * n))
def test_text_for_the_engine(line: str) -> None:
    with pytest.raises(DataError):
        Request.from_json(line)


def test_the_records_that_are_changed_are_right_before(shared: Path) -> None:
    assert read_run(shared).method == "ilora"
    load_result(shared / "result.json")
    assert tomllib.loads("\n".join(RUN_LINES))
