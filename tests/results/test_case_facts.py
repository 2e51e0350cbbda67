"""What is kept of the cases comes back as it was, and says which titles are shared."""

from __future__ import annotations

import numpy as np
import pytest

from core.data.cards import TITLE_STYLES, Titles
from core.data.reading.interactions import parse_catalogue
from core.data.tables import ItemsTable
from core.data.types import Catalogue, Samples
from core.errors import ResultError
from core.results.case_facts import (
    CaseFacts,
    experts_path,
    facts_path,
    load_experts,
    load_facts,
    save_experts,
    save_facts,
    shared_titles,
)


def catalogue(*titles: str, style: str) -> Catalogue:
    lines = "".join(f"{item}|{title}\n" for item, title in enumerate(titles))
    table = ItemsTable("films.txt", id=0, title=1, separator="|")
    return parse_catalogue(lines.encode(), table, Titles(style=style))


def samples_of(sha256: str) -> Samples:
    return Samples("movielens", "paper", 0, (), (), {}, sha256)


@pytest.mark.parametrize("style", TITLE_STYLES)
def test_titles_made_unique_by_year_or_id_are_shared_titles(style):
    made = catalogue("Heat (1995)", "Heat (1972)", "Chains", "chains", "Alone", "Alone Again", style=style)
    assert made.titles == ("Heat (1995)", "Heat (1972)", "Chains [2]", "chains [3]", "Alone", "Alone Again")
    assert made.years == ("1995", "1972", "", "", "", "")
    assert shared_titles(made).tolist() == [True, True, True, True, False, False]


def test_facts_come_back_as_they_were_saved(tmp_path):
    samples = samples_of("ab" * 32)
    facts = {("7", 3): CaseFacts(12, 3, False), ("ü", 10): CaseFacts(0, 10, True)}
    save_facts(facts, samples, tmp_path)
    assert load_facts(tmp_path, samples.dataset, samples.split, samples.sha256) == facts


def test_a_folder_without_facts_has_none(tmp_path):
    assert load_facts(tmp_path, "movielens", "paper", "ab" * 32) is None
    assert load_experts(tmp_path, tmp_path / "results" / "x.json") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 0}', '{"format": 1, "samples_sha256": "%s"}'])
def test_damaged_facts_are_an_error_with_a_hint(tmp_path, text):
    sha = "ab" * 32
    path = facts_path(tmp_path, "movielens", "paper", sha)
    path.parent.mkdir()
    path.write_text(text.replace("%s", sha))
    with pytest.raises(ResultError) as error:
        load_facts(tmp_path, "movielens", "paper", sha)
    assert path.name in error.value.title and error.value.hint


def test_facts_of_other_cases_are_refused(tmp_path):
    path = save_facts({}, samples_of("ab" * 32), tmp_path)
    sha = "ab" * 6 + "cd" * 26
    path.rename(facts_path(tmp_path, "movielens", "paper", sha))
    with pytest.raises(ResultError, match="other cases"):
        load_facts(tmp_path, "movielens", "paper", sha)


def test_expert_weights_come_back_and_layers_are_averaged(tmp_path):
    file = tmp_path / "results" / "movielens.paper.ilora.seed0.json"
    omega = np.array([[0.25, 0.75], [0.5, 0.5]])
    save_experts([("1", 3), ("2", 4)], omega, tmp_path, file)
    found = load_experts(tmp_path, file)
    assert found.places == (("1", 3), ("2", 4))
    assert np.array_equal(found.omega, omega)
    save_experts([("1", 3), ("2", 4)], np.stack([omega, 1 - omega], axis=1), tmp_path, file)
    assert np.allclose(load_experts(tmp_path, file).omega, 0.5)
    experts_path(tmp_path, file).write_text('{"format": 1, "rows": []}')
    with pytest.raises(ResultError, match="no weights"):
        load_experts(tmp_path, file)
