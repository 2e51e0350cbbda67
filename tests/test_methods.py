"""A method is one record, which every place asks; a new baseline is one file and one record."""

from __future__ import annotations

import ast
import csv
import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from core.benchmark import costs
from core.config.choices import ENCODERS
from core.data.card_files import load_card, shipped_cards
from core.evaluation.metrics import Scores
from core.method import COUNTING, KINDS, Method
from core.methods import (
    METHODS,
    local_methods,
    method_names,
    preferred_methods,
    record_of,
    settle,
)
from core.recommenders.base import FitReport, Recommender, Task
from core.recommenders.registry import method_class
from ilora_app.cli import main
from ilora_app.render import charts, figures
from ilora_app.render.reported import reported_for
from tests import tiny

ROOT = Path(__file__).parents[1]

# --- all records, all places -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_every_record_fits_its_class_and_every_place_that_asks_it(name: str, tiny_home: Path) -> None:
    record, kind = METHODS[name], method_class(name)
    assert record.name == name == kind.name
    assert record.kind in KINDS
    for verb in ("save", "load"):
        assert record.keeps_model == (getattr(kind, verb) is not getattr(Recommender, verb))
    assert record.trains == record.keeps_model  # so far
    assert figures.method_name(f"{name} (nf4)") == f"{record.label} (nf4)"
    assert charts.colour(name) == f"var(--m-{name})"
    assert all(f"--m-{name}:{colour}" in charts.styles() for colour in record.colours or ("missing",))
    assert record.about.format(encoder="SASRec", experts=4)
    config = tiny.config()
    settled = settle(config, name)
    assert all(getattr(settled.training, key) == value for key, value in record.own_training.items())
    second = dict.fromkeys(("zero-shot", "listwise", "language-model"), 1.0)
    step = dict.fromkeys((*ENCODERS, "morec"), 1.0)
    measured = costs.Measured(tiny.ITEMS, 1.0, 1.0, 1.0, second, second, second, step)
    seconds = costs.seconds(measured, config, name, tiny.load(config)[1])
    assert (seconds > 0) == (record.kind != COUNTING)


def test_no_two_records_share_a_colour() -> None:
    colours = [method.colours for method in METHODS.values()]
    assert len(set(colours)) == len(colours)


def test_published_figures_are_found_for_every_method_that_the_paper_has() -> None:
    cards = [load_card(name) for name in shipped_cards()]
    published = {row.method for card in cards for row in card.reported}
    assert {method.reported for method in METHODS.values()} - {""} <= published
    for card in cards:
        for row in card.reported:
            ours = method_names(lambda method, row=row: method.reported == row.method)  # type: ignore[misc]
            assert all(reported_for(name, card.reported) == row for name in ours)


def test_what_is_run_proposed_and_opened_without_being_named() -> None:
    assert method_names(lambda method: method.by_default) == (
        "popularity", "sasrec", "zero-shot", "lora", "ilora",
    )  # fmt: skip
    assert method_names(lambda method: method.ticked) == ("popularity", "sasrec", "lora", "ilora")
    assert preferred_methods() == ("ilora", "lora", "sasrec")
    assert all(METHODS[name].keeps_model for name in preferred_methods())
    assert not any(METHODS[name].is_remote for name in local_methods())


def test_what_differs_in_the_gate_alone_says_so_of_each_other() -> None:
    pairs = {name: method.counterpart for name, method in METHODS.items() if method.counterpart}
    assert pairs == {"ilora": "lora", "lora": "ilora"}


def test_an_encoder_that_a_gate_may_read_is_a_method_too() -> None:
    assert all(METHODS[kind].is_encoder for kind in ENCODERS)


def test_a_method_of_another_version_has_its_name_and_nothing_else() -> None:
    found = record_of("from-tomorrow")
    assert (found.name, found.label) == ("from-tomorrow", "from-tomorrow")
    assert not (found.needs_llm or found.is_remote or found.has_gate or found.keeps_model or found.reported)


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        METHODS["ilora"].label = "other"  # type: ignore[misc]


def test_the_records_are_read_without_anything_heavy() -> None:
    code = (
        "import sys, core.methods; "
        "heavy = {'torch', 'numpy', 'transformers', 'rich', 'core.recommenders.base'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


KINDS_OF_ENCODER = {"core/config/choices.py", "core/encoders/base.py"}
"""Which networks a gate may read: not a list of methods."""


def tables(tree: ast.AST) -> Iterator[list[str]]:
    """The texts of every list, tuple, set and of the keys of every dictionary that is written down."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict | ast.List | ast.Tuple | ast.Set):
            parts = node.keys if isinstance(node, ast.Dict) else node.elts
            yield [part.value for part in parts if isinstance(part, ast.Constant) and type(part.value) is str]


def test_nothing_else_keeps_a_table_of_methods() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {', '.join(named)}"
        for folder in ("core", "ilora_app")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != ROOT / "core" / "methods.py" and str(path.relative_to(ROOT)) not in KINDS_OF_ENCODER
        for texts in tables(ast.parse(path.read_text(encoding="utf-8")))
        if len(named := [text for text in texts if text in METHODS]) > 1
    ]
    assert not found, found


# --- a new one ---------------------------------------------------------------------------------------------


class Latest(Recommender):
    """Prefers the item that is nearest to the last one of the history in the catalogue."""

    name = "latest"

    def fit(self, task: Task) -> FitReport:
        return FitReport()

    def score(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Scores:
        last = np.array([history[-1] for history in histories])[:, None]
        return -np.abs(np.asarray(candidates) - last - 1).astype(np.float32)


RECORD = Method("latest", "Latest Item", COUNTING, "tests.test_methods:Latest", short="Late")


def test_one_file_and_one_record_make_a_baseline(
    tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--out", str(out)])
        assert ended.value.code == 0
        return capsys.readouterr().out

    out = tmp_path / "runs"
    asked = ("bench", "--dataset", "tiny", "--preset", "quick", "--methods", "popularity,latest")
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--out", str(out)])
    assert ended.value.code == 2
    assert "unknown method: latest" in capsys.readouterr().err
    monkeypatch.setitem(METHODS, "latest", RECORD)
    assert "Latest Item" in run(*asked)
    assert "Latest Item" in run("results")
    (table,) = json.loads(run("results", "--json"))["tables"]
    assert {row["method"] for row in table["rows"]} == {"popularity", "latest"}
    assert table["rows"][0]["method"] == "latest"
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "Latest Item" in report and f"{charts.colour('latest')}" in report
    assert "Latest Item" in (out / "report.md").read_text(encoding="utf-8")
    lines = csv.DictReader(io.StringIO((out / "results.csv").read_text(encoding="utf-8")))
    assert {line["method"] for line in lines} == {"popularity", "latest"}
