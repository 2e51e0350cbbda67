"""A card is either right or refused with its file's name, the fault, and what to do."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.card_files import card_of, list_cards, load_card, parse_card
from core.data.cards import DatasetCard
from core.errors import DataError, InputError
from tests.data import made_up

TEXT = made_up.card()
TABLE = tomllib.loads(TEXT)


def refused(text: str) -> str:
    """Title of the error that a card raises; it must name the file, take one line, and come with a hint."""
    with pytest.raises(DataError) as caught:
        parse_card(text, "made-up.toml")
    assert caught.value.title.startswith("made-up.toml: ") and "\n" not in caught.value.title
    assert caught.value.hint
    return caught.value.title


def test_movielens_is_listed_and_complete() -> None:
    assert "movielens" in list_cards()
    card = load_card("movielens")
    assert card.split is not None
    assert (len(card.split.test_users), len(card.split.validation_users)) == (95, 94)
    assert card.rules.min_rating == 3 and card.rules.max_history == 10
    ours = {row.method: row.hit_ratio_at_1 for row in card.reported}
    assert ours["iLoRA"] == 0.5275 and ours["SASRec"] == 0.3444 and len(ours) == 10


def test_no_python_among_the_cards() -> None:
    folder = Path(__file__).parents[2] / "datasets"
    assert {path.suffix for path in folder.iterdir()} == {".toml"}


def test_a_right_card_is_read() -> None:
    card = parse_card(TEXT, "made-up.toml")
    assert card.name == "made-up" and card.splits == ("paper", "leave-one-out", "temporal")
    assert card.sources[0].items.tags == 2


def test_without_the_papers_users_only_leave_one_out_is_left() -> None:
    table = copy.deepcopy(TABLE)
    del table["split"]
    assert card_of(table, "made-up.toml").splits == ("leave-one-out", "temporal")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("item = 1\n", "", "missing key 'sources[0].interactions.item'"),
        ("rating = 2\n", "", "missing column 'rating'"),
        ('noun = "film"', 'noun = "film"\nnoun = "movie"', "Cannot overwrite a value"),
        ('noun = "film"', 'noun = "film"\ncolour = "red"', "unknown key 'colour'"),
        ('kind = "url"', 'kind = "carrier pigeon"', "unknown source 'carrier pigeon'"),
        ("user = 0", 'user = "user_id"', "no header"),
        ("user = 0", "user = -1", "no header"),
        ("user = 0", "user = 0.5", "must be"),
        ('file = "films.txt"', 'file = "other.txt"', "none of its files"),
        ('name = "films.txt"', 'name = "../films.txt"', "cannot be a file name"),
        ('name = "films.txt"', 'name = "ratings.tsv"', "two files under one name"),
        ('sha256 = "', 'sha256 = "z', "64 hexadecimal digits"),
        ('title = "Made up"', "title = 3", "'title' must be text"),
        ("min_rating = 3", "min_rating = nan", "finite"),
        ("min_rating = 3", "min_rating = 3\nmin_history = 11", "do not fit"),
        ("users = 12", "users = 0", "at least 1"),
        ("{title}", "{name}", "wrong fields"),
        ("{history}", "{history", "language_model"),
        ('["2", "3"]', '["2", "2"]', "different users"),
        ('["2", "3"]', '["2", "4"]', "both a test and a validation user"),
        ('style = "trailing-article"', 'style = "loud"', "unknown title style"),
        ("hit_ratio_at_1 = 0.5", "hit_ratio_at_1 = 50.0", "between 0 and 1"),
        ('separator = "|"', 'separator = "||"', "one character"),
        ('name = "made-up"', 'name = "Made Up"', "cannot be a dataset's name"),
        ("[licence]", "[licence", "line"),
        ("size = ", "size = " + "9" * 5000, "digits"),
        ("rating = 2", "rating = 0x" + "f" * 5000, "must be a whole number"),
        ('title = "Made up"', "title" + ".a" * 2000 + " = 1", "'title' must be text"),
    ],
)
def test_a_wrong_card_is_refused(old: str, new: str, words: str) -> None:
    assert old in TEXT
    assert words in refused(TEXT.replace(old, new, 1))


def test_unknown_datasets_are_named_with_the_known_ones() -> None:
    for name in ("nope", "../movielens", "/etc/passwd", "x" * 5000, "a\0b.toml", ""):
        with pytest.raises(InputError, match="unknown dataset") as caught:
            load_card(name)
        assert "movielens" in caught.value.hint


def test_a_users_own_card_is_found_by_name_and_by_path(own_home: Path) -> None:
    (own_home / "cards").mkdir(parents=True)
    path = own_home / "cards" / "made-up.toml"
    path.write_text(TEXT)
    assert list_cards() == ["lastfm", "movielens", "steam", "made-up"]
    assert load_card("made-up") == load_card(path)
    path.rename(path.with_name("other.toml"))
    with pytest.raises(DataError, match=r"rename the file|its name is 'made-up'"):
        load_card("other")


def test_a_card_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made-up.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        load_card(tmp_path / "made-up.toml")


# --- any mutation parses or is refused, and nothing else ---------------------------------------------------


def read_or_refused(table: dict[str, Any]) -> None:
    try:
        assert isinstance(card_of(table, "made-up.toml"), DatasetCard)
    except DataError as error:
        assert error.title.startswith("made-up.toml: ") and error.hint


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
    | st.sampled_from([10**400, "{", "{title}", "{a[0]}", "{0.x!r:>{y}}", "\0", "url", "name"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything inside a parsed TOML value."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [place for key, inner in entries for place in [(*path, key), *places(inner, (*path, key))]]


@settings(deadline=None)
@given(st.sampled_from(places(TABLE)), VALUES, st.sampled_from(["replace", "delete", "add"]))
def test_any_changed_value_is_read_or_refused(path: tuple[Any, ...], value: object, how: str) -> None:
    table = copy.deepcopy(TABLE)
    holder = table
    for key in path[:-1]:
        holder = holder[key]
    if how == "replace":
        holder[path[-1]] = value
    elif how == "delete":
        del holder[path[-1]]
    elif isinstance(holder, dict):
        holder[f"{path[-1]}x"] = value
    else:
        holder.append(value)
    read_or_refused(table)


@settings(deadline=None)
@given(st.integers(0, len(TEXT)), st.integers(0, 40), st.text(max_size=10))
def test_any_edited_text_is_read_or_refused(at: int, cut: int, inserted: str) -> None:
    text = TEXT[:at] + inserted + TEXT[at + cut :]
    try:
        assert isinstance(parse_card(text, "made-up.toml"), DatasetCard)
    except DataError as error:
        assert error.title.startswith("made-up.toml: ") and error.hint


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
def test_anything_else_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        card_of(table, "made-up.toml")


def test_a_card_may_word_its_prompt_in_several_ways() -> None:
    line = next(line for line in TEXT.splitlines() if line.startswith("language_model"))
    one = line.removeprefix("language_model = ")
    several = TEXT.replace(line, f'language_model = [{one}, "{{candidates}} after {{history}}"]')
    assert parse_card(several, "made-up.toml").prompts.answer_templates[1] == "{candidates} after {history}"
    assert len(parse_card(TEXT, "made-up.toml").prompts.answer_templates) == 1
    assert "language_model" in refused(TEXT.replace(line, 'language_model = ["only {history}"]'))
    assert "no template" in refused(TEXT.replace(line, "language_model = []"))
    assert "must be text" in refused(TEXT.replace(line, "language_model = [3]"))


@pytest.mark.parametrize("name", list_cards())
def test_a_prompt_counts_its_candidates_itself(name: str) -> None:
    """The published templates speak of 10 titles and list 20."""
    for template in load_card(name).prompts.answer_templates:
        assert not any(letter.isdigit() for letter in template)
