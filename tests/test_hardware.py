"""What a machine is and what the work took of it, with and without a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.hardware import PeakMemory, group_memory, is_out_of_memory, most_memory
from core.lm.loading import pick_device


def test_the_peak_of_main_memory_is_seen() -> None:
    with PeakMemory() as memory:
        block = torch.ones(16, 2**20)  # 64 MiB
        before = memory.bytes
        del block
    assert memory.bytes >= before > 2**26
    assert memory.gpu_bytes == 0
    assert sys.platform == "win32" or most_memory() >= before


def test_the_gpus_peak_counts_from_the_start_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = 999
    said: list[str] = []

    def reset() -> None:
        nonlocal peak
        said.append("reset")
        peak = 0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: peak)
    with PeakMemory() as memory:
        peak = 123
    assert said == ["reset"]
    assert memory.gpu_bytes == 123


def test_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for present, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda present=present: present)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        assert pick_device().type == expected


# --- limits of memory ---------------------------------------------------------------------------------------

GIB = 2**30


def group(folder: Path, limit: str, used: int, names: tuple[str, str, str], cached: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\n")


V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def test_the_tightest_of_nested_groups_is_the_limit(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/user/job\n")
    group(tmp_path / "user" / "job", "max", 1, V2)
    assert group_memory(own, tmp_path) is None
    group(tmp_path / "user", str(3 * GIB), 2 * GIB, V2, cached=GIB)
    assert group_memory(own, tmp_path) == 2 * GIB
    group(tmp_path / "user" / "job", str(GIB), 100, V2)
    assert group_memory(own, tmp_path) == GIB - 100


def test_groups_of_the_first_version_are_heeded(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("7:cpu,cpuacct:/elsewhere\n4:memory:/job\n")
    group(tmp_path / "memory" / "job", str(4 * GIB), GIB, V1)
    assert group_memory(own, tmp_path) == 3 * GIB


def test_a_container_sees_its_own_group_at_the_top(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/../../outside\n")
    group(tmp_path, str(2 * GIB), GIB, V2)
    assert group_memory(own, tmp_path) == GIB
    assert group_memory(tmp_path / "none", tmp_path) == GIB


@pytest.mark.parametrize(
    ("own", "groups", "left"),
    [
        ("0::/", {"": (4, 1)}, 3),
        ("0::/a/b/c", {"a": (8, 1), "a/b": (4, 2), "a/b/c": (6, 1)}, 2),
        ("0::/a", {"b": (1, 0)}, None),
        ("0::/a", {"a": (1, 2)}, -1),
        ("0::/a", {"a": (0, 0)}, 0),
        ("", {"": (5, 1)}, 4),
        ("nonsense\n::\n0:\n:::::", {"": (5, 1)}, 4),
        ("1:name=systemd:/x\n0::/a", {"a": (3, 1), "x": (1, 0)}, 2),
        ("0::/a\n3:memory:/m", {"a": (9, 1), "memory/m": (4, 3)}, 1),
        ("5:cpu,memory,io:/m/n", {"memory/m": (7, 1), "memory/m/n": (2**33 - 1, 2)}, 6),
        ("0::/a b/ä", {"a b/ä": (2, 1)}, 1),
        ("0::" + "/x" * 3000, {"": (2, 1)}, 1),
    ],
)
@pytest.mark.parametrize("stat", ["whole", "gone", "odd"])
def test_groups_of_any_shape_are_read(
    tmp_path: Path, own: str, groups: dict[str, tuple[int, int]], left: int | None, stat: str
) -> None:
    """In GiB; also where the system shows no figures of what is cached."""
    (tmp_path / "own").write_text(own + "\n")
    for path, (most, used) in groups.items():
        group(tmp_path / path, str(most * GIB), used * GIB, V1 if path.startswith("memory") else V2)
        figures = tmp_path / path / "memory.stat"
        figures.unlink() if stat == "gone" else figures.write_text("a b c\n" if stat == "odd" else "anon 5\n")
    assert group_memory(tmp_path / "own", tmp_path) == (None if left is None else left * GIB)


def test_a_limit_of_address_space_is_heeded() -> None:
    code = (
        "import resource; from core.hardware import address_space; from core.lm.loading import free_memory; "
        f"resource.setrlimit(resource.RLIMIT_AS, ({64 * GIB}, {64 * GIB})); "
        f"assert 0 < address_space() < {64 * GIB}; assert free_memory() <= address_space()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_memory_that_ran_out_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(ImportError("libtorch_cpu.so: failed to map segment from shared object"))
    assert not is_out_of_memory(ImportError("No module named 'torch'"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
