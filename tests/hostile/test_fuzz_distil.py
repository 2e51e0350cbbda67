"""Whatever `distil` is given, and whatever its teacher's folder says: read right, or refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from core.results.store import load_results, result_path
from core.runs.store import list_runs
from ilora_app.cli import distil, main
from tests.cli.test_distil import bench, out
from tests.hostile.test_full_disk import is_one_complaint
from tests.hostile.test_fuzz import FAST, ODD, VALUES, changed, places, tried, written

__all__ = ["bench", "out"]  # fixtures
BRIEF = settings(FAST, max_examples=40)
WRITTEN = (
    "-1", "0", "1", "24", "0.5", "50%", "1e3", "1e309", "nan", "inf", "-0.0", "9" * 5000, "0x10", "1_000",
    "١٢", " 5 ", "5%%", "%", "1/2", "--json", "-", "--", ".", "..", "~", "demo", "*", "ilora", "/dev/null",
)  # fmt: skip
WORDS = st.text(max_size=8) | ODD.filter(lambda value: isinstance(value, str)) | st.sampled_from(WRITTEN)


@pytest.fixture
def ask(
    out: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., int]:
    """Runs the command up to its training; what it says otherwise is one line."""

    def done(*_: Any, **__: Any) -> None:
        raise typer.Exit

    monkeypatch.setattr(distil, "run_plan", done)
    monkeypatch.chdir(tmp_path)

    def asked(*arguments: str) -> int:
        codes: list[int] = []

        def run() -> None:
            with pytest.raises(SystemExit) as end:
                main(["distil", *arguments])
            codes.append(int(end.value.code or 0))

        tried(run)
        said = capfd.readouterr().err
        assert codes[0] in (0, 2) and "Traceback" not in said and "\x1b" not in said, (arguments, codes, said)
        assert codes[0] == 0 or is_one_complaint(said.splitlines()), said
        return codes[0]

    return asked


def teacher(out: Path) -> Path:
    return next(run.path for run in list_runs(out)[0] if run.method == "ilora")


@BRIEF
@given(name=WORDS)
def test_any_run(ask: Callable[..., int], out: Path, name: str) -> None:
    ask("--out", str(out), "--", name)


@BRIEF
@given(
    option=st.sampled_from(["histories", "candidates", "drawn", "temperature", "precision", "out"]),
    value=WORDS,
)
def test_any_option(ask: Callable[..., int], out: Path, option: str, value: str) -> None:
    place = () if option == "out" else ("--out", str(out))
    ask(str(teacher(out)), *place, f"--{option}={value}")


@pytest.mark.parametrize("share", ["24", "0.5", "50%", "1.0", "100%", "1"])
def test_a_share_or_a_number_is_taken(ask: Callable[..., int], out: Path, share: str) -> None:
    assert ask("ilora", "--out", str(out), "--histories", share) == 0


@BRIEF
@given(data=st.data(), value=VALUES)
def test_a_teachers_card(
    ask: Callable[..., int], out: Path, tmp_path: Path, data: st.DataObject, value: Any
) -> None:
    folder = Path(shutil.copytree(teacher(out), tmp_path / "shared", dirs_exist_ok=True))
    record = json.loads((folder / "run.json").read_text())
    place = data.draw(st.sampled_from(places(record)))
    (folder / "run.json").write_bytes(written(changed(record, place, value)))
    ask(str(folder), "--out", str(out))


@BRIEF
@given(data=st.data(), value=VALUES)
def test_a_teachers_result(
    ask: Callable[..., int], out: Path, tmp_path: Path, data: st.DataObject, value: Any
) -> None:
    folder = Path(shutil.copytree(teacher(out), tmp_path / "shared", dirs_exist_ok=True))
    record = json.loads((folder / "result.json").read_text())
    place = data.draw(st.sampled_from(places(record)))
    (folder / "result.json").write_bytes(written(changed(record, place, value)))
    ask(str(folder), "--out", str(tmp_path / "other"))


@BRIEF
@given(data=st.data(), value=VALUES)
def test_the_result_of_the_plain_encoder(
    ask: Callable[..., int], out: Path, data: st.DataObject, value: Any
) -> None:
    results, _ = load_results(out)
    for result in results:
        path = result_path(out, *result.key)
        whole = path.read_bytes()
        record = json.loads(whole)
        path.write_bytes(written(changed(record, data.draw(st.sampled_from(places(record))), value)))
        ask("ilora", "--out", str(out))
        path.write_bytes(whole)


FILES = (
    "run.json",
    "config.toml",
    "result.json",
    "encoder.safetensors",
    "ilora.safetensors",
    "adapter_config.json",
)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", [None, b"", b"\0" * 100, b"[" * 100_000, b"\xed\xa0\x80"])
def test_a_file_of_the_teacher_that_is_gone_or_nonsense(
    ask: Callable[..., int], out: Path, tmp_path: Path, file: str, content: bytes | None
) -> None:
    folder = Path(shutil.copytree(teacher(out), tmp_path / "shared"))
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    ask(str(folder), "--out", str(tmp_path / "other"))
