"""Somebody's own files become a dataset, with a rule for everything that can be odd about them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from core.data.card_files import load_card
from core.data.loading import load_dataset
from core.data.own.adding import Added, add_dataset, remove_dataset
from core.data.own.guessing import guess
from core.data.samples import make_samples
from core.errors import AssetError, DataError, IloraError, InputError
from core.events import silent

ITEMS = 60


def interactions(users: int = 12, each: int = 10, header: str = "user_id,item_id,rating,timestamp") -> str:
    draw = random.Random(3)
    lines = [header] if header else []
    for user in range(1, users + 1):
        for place, item in enumerate(draw.sample(range(1, ITEMS + 1), each)):
            lines.append(f"u{user},{item},{draw.randint(1, 5)},{1_400_000_000 + place // 3}")
    return "\n".join(lines) + "\n"


def items(titles: dict[int, str] | None = None, count: int = ITEMS) -> str:
    rows = [f"{item},{(titles or {}).get(item, f'Book {item}')}" for item in range(1, count + 1)]
    return "\n".join(["item_id,title", *rows]) + "\n"


def add(folder: Path, ratings: str | None = None, books: str | bytes | None = None, **given: str) -> Added:
    (folder / "r.csv").write_text(interactions() if ratings is None else ratings, encoding="utf-8")
    content = items() if books is None else books
    (folder / "b.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return add_dataset("books", guess(folder / "r.csv", folder / "b.csv", given), noun="book")


def refused(folder: Path, words: str, **named: str) -> None:
    with pytest.raises(IloraError) as caught:
        add(folder, **named)
    assert words in caught.value.title and "\n" not in caught.value.title and caught.value.hint
    assert not (folder / "home" / "cards" / "books.toml").exists()


pytestmark = pytest.mark.usefixtures("own_home")


def test_own_files_make_cases_that_come_back_the_same(tmp_path: Path) -> None:
    added = add(tmp_path)
    assert (added.card.expected.users, added.card.expected.items) == (12, 60)
    card = load_card("books")
    assert card == added.card and card.noun == "book"
    assert card.splits == ("paper", "leave-one-out", "temporal")
    dataset = load_dataset("books", silent)
    assert make_samples(dataset, card).sha256 == make_samples(added.dataset, card).sha256
    assert "next book" in str(card.prompts.language_model)


def test_a_changed_file_is_noticed_and_a_copy_is_kept(tmp_path: Path) -> None:
    add(tmp_path)
    load_dataset("books", silent)
    (tmp_path / "r.csv").write_text("gone")
    load_dataset("books", silent)  # its own copy
    remove_dataset("books")
    assert add(tmp_path, interactions()).card.name == "books"
    (tmp_path / "r.csv").write_text("gone")
    with pytest.raises(AssetError, match="wrong checksum"):
        load_dataset("books", silent)


def test_names_that_are_taken_or_odd_are_refused(tmp_path: Path) -> None:
    add(tmp_path)
    found = guess(tmp_path / "r.csv", tmp_path / "b.csv", {})
    for name, words in (
        ("books", "already"),
        ("movielens", "comes with"),
        ("add", "cannot be"),
        ("A b", "cannot be"),
    ):
        with pytest.raises(InputError, match=words):
            add_dataset(name, found)
    remove_dataset("books")
    for name in ("books", "movielens", "../x"):
        with pytest.raises(InputError, match="no dataset of your own"):
            remove_dataset(name)


# --- guessing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["UserID,ItemID,Rating,Timestamp", "customer,product_id,stars,date", ""])
def test_columns_are_guessed_by_name_or_place(tmp_path: Path, header: str) -> None:
    (tmp_path / "r.csv").write_text(interactions(header=header))
    (tmp_path / "b.csv").write_text(items())
    table = guess(tmp_path / "r.csv", tmp_path / "b.csv", {}).interactions
    assert table is not None and table.header == bool(header)
    found = [table.user, table.item, table.rating, table.timestamp]
    assert found == (header.split(",") if header else [0, 1, 2, 3])


def test_a_column_that_cannot_be_guessed_is_asked_for_and_can_be_said(tmp_path: Path) -> None:
    odd = interactions(header="who,what,how,when")
    refused(tmp_path, "which column is the user?", ratings=odd)
    with pytest.raises(InputError, match="no column 'nobody'"):
        add(tmp_path, ratings=odd, user="nobody")
    added = add(tmp_path, ratings=odd, user="who", item="what", timestamp="when")
    assert added.card.sources[0].interactions.rating is None  # type: ignore[union-attr]


def test_recbole_and_movielens_folders_are_known(tmp_path: Path) -> None:
    tabs = interactions(header="").replace(",", "\t")
    plain = tabs.replace("u", "")
    layouts = {
        "rb": {"x.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + tabs,
               "x.item": items().replace("item_id", "item_id:token").replace(",", "\t")},
        "u": {"u.data": plain, "u.item": "".join(f"{i}|Été {i} (1999)|x\n" for i in range(1, ITEMS + 1))},
        "dat": {"ratings.dat": plain.replace("\t", "::"),
                "movies.dat": "".join(f"{i}::Duel {i}, The (1999)::A|B\n" for i in range(1, ITEMS + 1))},
        "csv": {"ratings.csv": "userId,movieId,rating,timestamp\n" + plain.replace("\t", ","),
                "movies.csv": "movieId,title,genres\n"
                + "".join(f'{i},"Duel {i}, The (1999)",A|B\n' for i in range(1, ITEMS + 1))},
    }  # fmt: skip
    titles = {}
    for name, files in layouts.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_bytes(text.encode("latin-1"))
        added = add_dataset(name, guess(tmp_path / name, None, {}))
        assert added.card.expected.interactions == 120
        assert load_dataset(name, silent).catalogue == added.dataset.catalogue
        titles[name] = added.dataset.catalogue.titles[0]
    assert titles == {"rb": "Book 1", "u": "Été 1", "dat": "The Duel 1", "csv": "The Duel 1"}
    with pytest.raises(InputError, match="no folder of a known kind"):
        guess(tmp_path, None, {})


# --- odd data --------------------------------------------------------------------------------------------


def test_users_shorter_than_three_items_give_no_case(tmp_path: Path) -> None:
    short = "u90,1,5,1\nu91,1,5,1\nu91,2,5,2\nu92,1,5,1\nu92,2,5,2\nu92,3,5,3\n"
    added = add(tmp_path, interactions() + short)
    assert added.card.expected.users == 15
    samples = make_samples(added.dataset, added.card, "leave-one-out")
    users = {case.user for case in (*samples.train, *samples.validation, *samples.test["last"])}
    assert users == {f"u{user}" for user in range(1, 13)}


def test_only_short_users_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, "no split gives cases", ratings=interactions(each=3))


def test_one_user_is_left_with_leave_one_out(tmp_path: Path) -> None:
    added = add(tmp_path, interactions(users=1, each=12))
    assert added.card.splits == ("leave-one-out", "temporal")
    samples = make_samples(added.dataset, added.card, "leave-one-out")
    assert (len(samples.train), len(samples.validation), len(samples.test["last"])) == (7, 1, 1)


def test_fewer_than_twenty_candidates_are_refused(tmp_path: Path) -> None:
    few = "\n".join(line for line in interactions().splitlines() if not line.split(",")[1][1:])
    refused(tmp_path, "has 15 items, and a case needs 20", ratings=few, books=items(count=15))
    everything = "".join(f"u99,{item},5,1\n" for item in range(1, 51))
    refused(
        tmp_path,
        "user 'u99' of books has 10 unseen items, 19 are needed",
        ratings=interactions() + everything,
    )


def test_missing_and_shared_titles_get_names_of_their_own(tmp_path: Path) -> None:
    added = add(tmp_path, books=items({1: "", 2: "Emma", 3: "emma", 4: "Emma"}))
    titles = added.dataset.catalogue.titles
    assert titles[:4] == ("Unknown book (1)", "Emma [2]", "emma [3]", "Emma [4]")


def test_titles_keep_their_letters_and_lose_what_breaks_a_line(tmp_path: Path) -> None:
    odd = {
        1: "مئة عام من العزلة",
        2: "🐳🌊 Moby-Dick 🏴‍☠️",
        3: '"One, two:\nthree"',
        4: "\u202eEvil\u202c twin",
        5: "{title} {history}; [x] | ::",
        6: " ".join(["very"] * 300),
    }
    titles = add(tmp_path, books=items(odd)).dataset.catalogue.titles
    assert titles[:5] == (odd[1], odd[2], "One, two: three", "Evil twin", odd[5])
    assert titles[5] == odd[6]
    refused_name = tmp_path / "other"
    refused_name.mkdir()
    with pytest.raises(DataError, match=r"b.csv, line 2: title 'Bell\\x07' has control"):
        (refused_name / "b.csv").write_text(items({1: "Bell\x07"}))
        add_dataset("others", guess(tmp_path / "r.csv", refused_name / "b.csv", {}))


def test_titles_that_are_not_utf8_name_the_line_or_get_their_encoding(tmp_path: Path) -> None:
    books = items({7: "Les Misérables"}).encode("latin-1")
    assert add(tmp_path, books=books).dataset.catalogue.titles[6] == "Les Misérables"
    remove_dataset("books")
    with pytest.raises(DataError, match=r"b\.csv, line 8: not utf-8 text") as caught:
        add_dataset("books", guess(tmp_path / "r.csv", tmp_path / "b.csv", {}, encoding="utf-8"))
    assert "--encoding" in caught.value.hint
    found = guess(tmp_path / "r.csv", tmp_path / "b.csv", {}, encoding="latin-1")
    assert add_dataset("books", found).dataset.catalogue.titles[6] == "Les Misérables"


def test_without_times_and_among_ties_the_order_of_the_file_counts(tmp_path: Path) -> None:
    lines = "u50,9,5,7\nu50,3,5,7\nu50,5,5,6\nu50,1,5,7\n"
    tied = add(tmp_path, interactions() + lines).dataset
    assert [tied.catalogue.ids[item] for item in tied.sequences["u50"].items] == ["5", "9", "3", "1"]
    remove_dataset("books")
    untimed = "\n".join(line.rpartition(",")[0] for line in (interactions() + lines).splitlines())
    dataset = add(tmp_path, untimed).dataset
    assert [dataset.catalogue.ids[item] for item in dataset.sequences["u50"].items] == ["9", "3", "5", "1"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("u1,61,5,7", "r.csv, line 122: unknown item id '61'"),
        ("u1,6,good,7", "r.csv, line 122: rating 'good' is not a number"),
        ("u1,6,5,noon", "r.csv, line 122: timestamp 'noon'"),
        ("u1,6,5,", "r.csv, line 122: no timestamp"),
        (",6,5,7", "r.csv, line 122: no user"),
        ("u1,6,5", "r.csv, line 122: 3 columns where 4 are due"),
        ("", "r.csv, line 122: 0 columns where 4 are due"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, line: str, words: str) -> None:
    refused(tmp_path, words, ratings=interactions() + line + "\n" + "u2,6,5,7\n")


def test_files_that_are_not_there_or_empty_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        guess(tmp_path / "nope.csv", None, {})
    refused(tmp_path, "r.csv is empty", ratings="")
    with pytest.raises(InputError, match="--items is missing"):
        (tmp_path / "r.csv").write_text(interactions())
        guess(tmp_path / "r.csv", None, {})


def test_the_card_is_plain_toml(tmp_path: Path) -> None:
    text = add(tmp_path).path.read_text(encoding="utf-8")
    assert f"address = {json.dumps(str(tmp_path / 'r.csv'))}" in text and 'kind = "local"' in text
