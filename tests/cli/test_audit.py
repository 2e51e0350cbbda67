"""`ilora-app audit` finds leaks that are there, none that are not, and says what it cannot read."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ilora_app.cli import main

Case = dict[str, Any]
ITEMS = 400


def fair(n: int = 600, seed: int = 0) -> list[Case]:
    """Cases as they should be: popular targets, negatives and places drawn independently of them."""
    draw = random.Random(seed)
    cases = []
    for place in range(n):
        target = min(int(draw.expovariate(1 / 40)), ITEMS - 1)
        history = [item for item in draw.sample(range(ITEMS), 5) if item != target]
        left = [item for item in range(ITEMS) if item not in {target, *history}]
        candidates = [target, *draw.sample(left, 19)]
        draw.shuffle(candidates)
        user = f"{seed}-{place // 3}"
        cases.append({"user": user, "history": history, "target": target, "candidates": candidates})
    return cases


def at_fixed_place(case: Case) -> None:
    others = [item for item in case["candidates"] if item != case["target"]]
    case["candidates"] = [case["target"], *others]


def seeded_by_target(case: Case) -> None:
    draw = random.Random(case["target"])
    order = draw.sample(range(ITEMS), ITEMS)
    met = {case["target"], *case["history"]}
    case["candidates"] = [case["target"], *[item for item in order if item not in met][:19]]
    random.Random(str(case)).shuffle(case["candidates"])


def without_target(case: Case) -> None:
    case["candidates"].remove(case["target"])


def naming_one_twice(case: Case) -> None:
    wrong = next(item for item in case["candidates"] if item != case["target"])
    case["candidates"].append(wrong)


def offering_what_was_had(case: Case) -> None:
    case["history"].append(next(item for item in case["candidates"] if item != case["target"]))


def write(path: Path, cases: list[Case]) -> str:
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["audit", *arguments])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def leaks(text: str) -> list[str]:
    return [
        line.removeprefix("LEAK  ").split(":")[0] for line in text.splitlines() if line.startswith("LEAK")
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_fair_file_leaks_nothing_although_a_blind_reader_is_above_chance(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, _ = run(capsys, write(tmp_path / "fair.jsonl", fair(seed=seed)))
    assert code == 0 and not leaks(text)
    reached = float(text.split("HR@1 ")[1].split()[0])
    assert 0.08 < reached < 0.6


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (at_fixed_place, "places of targets"),
        (seeded_by_target, "telling negatives"),
        (without_target, "targets offered"),
        (naming_one_twice, "repeated candidates"),
        (offering_what_was_had, "candidates from the history"),
    ],
)
def test_each_leak_is_found_and_named_and_ends_with_1(
    spoil: Callable[[Case], None], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = fair()
    for case in cases:
        spoil(case)
    code, text, _ = run(capsys, write(tmp_path / "spoilt.jsonl", cases))
    assert code == 1 and leaks(text) == [name]


def test_the_layout_of_s_dpo_is_read_and_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = fair()
    for case in cases:
        seeded_by_target(case)
    theirs = [
        {
            "historyList": "::".join(map(str, case["history"])),
            "itemList": [*map(str, case["candidates"])],
            "trueSelection": str(case["target"]),
        }
        for case in cases
    ]
    path = tmp_path / "test.json"
    path.write_text(json.dumps(theirs))
    code, text, _ = run(capsys, str(path))
    assert code == 1 and leaks(text) == ["telling negatives"]


def test_users_and_cases_in_two_parts_are_a_leak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = fair(seed=1), fair(seed=2)
    names = [write(tmp_path / "a.jsonl", first), write(tmp_path / "b.jsonl", second)]
    assert run(capsys, *names)[0] == 0
    write(tmp_path / "b.jsonl", [*second, *first[:9]])
    code, text, _ = run(capsys, *names)
    assert code == 1 and len(leaks(text)) == 2
    assert "3 users are in both" in text and "9 histories with their target are in both" in text


def test_published_windows_are_compared_although_they_hold_no_candidates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    windows = {"seq": [[1, 2, 0], [3, 4, 5]], "len_seq": [2, 3], "next": [7, 8]}
    frame = pd.DataFrame(windows, columns=pd.Index([*windows], dtype=object))
    for name in ("train.df", "test.df"):
        (tmp_path / name).write_bytes(pickle.dumps(frame, protocol=4))
    code, text, _ = run(capsys, str(tmp_path / "train.df"), str(tmp_path / "test.df"))
    assert code == 1
    assert "none in the file, 2 histories and targets" in text and "2 histories with their target" in text


def test_a_datasets_own_cases_leak_nothing_and_their_times_are_told(
    tiny_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, _ = run(capsys, "tiny", "--json")
    record = json.loads(text)
    assert code == 0 and record["leaks"] is False
    found = {one["name"]: one["found"] for one in record["findings"]}
    assert found["users in training and test"].startswith("0 of 4")
    assert "later than the earliest test case" in found["later items"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no case"),
        ('{"history": [1], "candidates": [2]}', "without a target"),
        ('{"target": 1, "candidates": [1]}', "without a history"),
        ('{"target": 1, "history": [2]}', "without a list of candidates"),
        ('{"target": [1], "history": [2], "candidates": [1]}', "neither a text"),
        ("[1, 2]", "where a JSON object is due"),
        ("nonsense", "not JSON"),
    ],
)
def test_what_is_no_candidate_file_is_one_line(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.json"
    path.write_text(content)
    code, text, err = run(capsys, str(path))
    assert code == 2 and not text
    assert said in err and "hint:" in err


def test_neither_a_file_nor_a_dataset_is_one_line(
    tiny_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "nowhere.json")
    assert code == 2 and "nowhere.json is neither a file nor a dataset" in err
