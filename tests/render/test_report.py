"""A report says everything its results hold, in files that need nothing else, and is made quickly."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from core.data.types import Samples
from core.results.case_facts import save_experts, save_facts
from core.results.store import result_path, save_result
from core.results.tables import group_tables
from ilora_app.cli import main
from ilora_app.render.blocks import Plot
from ilora_app.render.report import sections, write_report
from tests.made_up import answered, case_facts, five_methods, result

CURVE = ({"step": 0, "HR@1": 0.2}, {"step": 100, "loss": 2.1, "HR@1": 0.4})
RESULTS = [dataclasses.replace(made, history=CURVE) for made in five_methods(seeds=2)]
PLOTS = 11
"""Two test sets by method, time, two curves, two seeds' experts, three divisions."""


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for made in RESULTS:
        path = save_result(made, folder)
        places = sorted({(case.user, case.position) for case in made.cases})
        if made.method == "ilora":
            omega = np.random.default_rng(1).dirichlet([2, 1, 1, 1], len(places))
            save_experts(places, omega, folder, path)
    samples = Samples("movielens", "paper", 0, (), (), {}, made.samples_sha256)
    save_facts(case_facts(places), samples, folder)
    with pytest.raises(SystemExit) as done:
        main(["results", "--out", str(folder), "--report"])
    assert not done.value.code
    return folder


class Page(HTMLParser):
    """Collects what a page refers to, and whether its tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [
            value for key, value in attrs if key in ("src", "href", "data", "action", "srcset")
        ]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_all_four_files_are_there(out):
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        "report.html",
        "report.md",
        "results.csv",
        "results.jsonl",
    }


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(out):
    text, page = (out / "report.html").read_text(encoding="utf-8"), Page()
    page.feed(text)
    assert page.open == []
    assert all(address.startswith("#") for address in page.addresses)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not re.search(r"url\(|@import", text)
    assert page.tags.count("svg") == PLOTS
    assert "prefers-color-scheme:dark" in text


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_what_made_it_and_what_it_rests_on_is_told(out, name):
    text = (out / name).read_text(encoding="utf-8")
    for promised in (
        *("iLoRA over LoRA: ", "280 cases", "28 users", "2 seeds", "ilora-app bench --dataset movielens"),
        *("numpy 2.2.1", "5a5a5a", "rare targets", "title of its own", "p (Holm)", "+0.01 %"),
        *("Entropy", "training time", "samples seen", "Training loss"),
    ):
        assert promised in text, promised


def test_lines_and_csv_hold_every_run(out):
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert {(line["method"], line["seed"]) for line in lines} == {
        (made.method, made.seed) for made in RESULTS
    }
    assert all("metrics" in line and "cases" not in line for line in lines)
    assert len(list(csv.DictReader(io.StringIO((out / "results.csv").read_text())))) == 10


def test_it_is_rebuilt_from_disk_within_five_seconds(out):
    started = time.perf_counter()
    with pytest.raises(SystemExit):
        main(["results", "--out", str(out), "--report"])
    assert time.perf_counter() - started < 5


def test_an_older_folder_has_a_report_of_what_it_holds(tmp_path):
    save_result(result("lora", history=()), tmp_path)
    write_report(group_tables([result("lora", history=())]), [tmp_path], {}, ["x.json: damaged"], tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "left out: x.json: damaged" in text and "Where a method wins" not in text


def test_what_a_result_lacks_is_a_dash_and_not_a_failure():
    made = result("popularity", timings={}, history=({"step": 3, "MRR": 0.5},), versions={}, command="")
    (section,) = sections(group_tables([made]), [], {})
    assert [block.title for block in section.blocks if isinstance(block, Plot)] == [
        "Metrics by method on spread",
        "Metrics by method on last",
    ]


def test_a_damaged_file_beside_the_results_is_one_line_and_a_hint(tmp_path, capsys):
    made = result("ilora")
    save_result(made, tmp_path)
    key = (made.dataset, made.split, made.method, made.seed, made.config_sha256)
    path = tmp_path / "experts" / result_path(tmp_path, *key).name
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(SystemExit) as done:
        main(["results", "--out", str(tmp_path), "--report"])
    assert done.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_methods_that_answer_in_words_stand_beside_those_that_rank(tmp_path):
    made = [result("sasrec"), answered("ilora")]
    places = sorted({(case.user, case.position) for case in made[0].cases})
    samples = Samples("movielens", "paper", 0, (), (), {}, made[0].samples_sha256)
    save_facts(case_facts(places), samples, tmp_path)
    (section,) = sections(group_tables(made), [tmp_path], {})
    (by_method, *_) = [block for block in section.blocks if isinstance(block, Plot)]
    assert "ValidRatio" in by_method.svg
    write_report(group_tables(made), [tmp_path], {}, [], tmp_path)
    assert "ValidRatio on spread by popularity" in (tmp_path / "report.md").read_text(encoding="utf-8")
