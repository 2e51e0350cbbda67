"""Data sets as they are published are simply added: joined, ordered and titled as their readers expect."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from core.data.loading import load_dataset
from core.data.own.adding import Added, add_dataset, remove_dataset
from core.data.own.guessing import guess
from core.data.reading import impressions
from core.errors import DataError
from core.events import silent
from tests.data.own.acts import EACH, ITEMS, USERS, acts, add, kept, listing, order, text, titles

pytestmark = pytest.mark.usefixtures("own_home")


def folder(place: Path, files: dict[str, str | bytes]) -> Added:
    """A folder of these files, added by its path alone; what is read again is what was added."""
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = guess(place, None, {})
    added = add_dataset("own", found)
    assert load_dataset("own", silent).catalogue == added.dataset.catalogue
    return added


def whole(added: Added, prefix: str = "", user: object = 7, timed: bool = True) -> None:
    """All users, items and interactions are there, and in the order of time."""
    expected = added.card.expected
    assert (expected.users, expected.items, expected.interactions) == (USERS, ITEMS, USERS * EACH)
    lines = [act.item for act in acts() if act.user == 7]
    assert kept(added, user, prefix) == (order(7) if timed else lines)


def title(added: Added, prefix: str = "") -> str:
    return added.dataset.catalogue.titles[added.dataset.catalogue.ids.index(f"{prefix}5")]


# --- folders ---------------------------------------------------------------------------------------------


def test_hetrec_lastfm_is_ordered_by_its_tags_and_an_artist_counts_once(tmp_path: Path) -> None:
    tags = text("userID\tartistID\ttagID\ttimestamp", "{user}\t{item}\t{rating}\t{second}000")
    again = "".join(f"7\t{act.item}\t99\t{act.second}000\n" for act in acts() if act.user == 7)
    added = folder(
        tmp_path / "hetrec",
        {
            "user_taggedartists-timestamps.dat": tags + again + "7\t99999\t1\t1300000000000\n",
            "user_artists.dat": text("userID\tartistID\tweight", "{user}\t{item}\t{second}"),
            "artists.dat": listing(
                "id\tname\turl\tpictureURL",
                "{id}\t{title}\thttp://x/{id}\thttp://y/{id}.jpg",
                {5: '"Weird" Al'},
            ),
        },
    )
    assert kept(added) == order(7) and added.left_out == 1
    assert title(added) == '"Weird" Al'
    assert added.dataset.sequences["7"].timestamps[0] < 2_000_000_000


def test_hetrec_lastfm_without_times_says_that_lines_are_the_order(tmp_path: Path) -> None:
    added = add(
        tmp_path,
        text("userID\tartistID\tweight", "{user}\t{item}\t{rating}00"),
        listing("id\tname\turl\tpictureURL", "{id}\t{title}\thttp://x\thttp://y"),
        ("user_artists.dat", "artists.dat"),
    )
    whole(added, timed=False)
    found = guess(tmp_path / "user_artists.dat", tmp_path / "artists.dat", {})
    assert any("order of its lines" in note for note in found.notes)
    assert found.interactions is not None and found.interactions.rating is None


@pytest.mark.parametrize("block", [1 << 24, 300])
def test_mind_is_its_histories_and_its_clicks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(impressions, "_BLOCK", block)
    lines = []
    for user in range(1, USERS + 1):
        mine = order(user)
        before = " ".join(f"N{item}" for item in mine[:4])
        for place, item in enumerate(mine[4:]):
            moment = f"11/{11 + place}/2019 {place + 6}:05:58 {'AM' if place % 2 else 'PM'}"
            shown = f"N{item % 60 + 1}-0 N{item}-1"
            lines.append(f"{len(lines) + 1}\tU{user}\t{moment}\t{before}\t{shown}")
    lines.reverse()
    news = listing(
        "",
        'N{id}\tnews\tworld\t{title}\t"So," they said\thttps://assets/{id}.html\t[{{"Label": "x"}}]\t[]',
        {5: '"Heroes" of the day'},
    )
    added = folder(tmp_path / "mind", {"behaviors.tsv": "\n".join(lines) + "\n", "news.tsv": news})
    whole(added, "N", "U7")
    assert title(added, "N") == '"Heroes" of the day'
    found = guess(tmp_path / "mind", None, {})
    lines[50] = lines[50].rpartition("\t")[0] + "\tN5"
    (tmp_path / "mind" / "behaviors.tsv").write_text("\n".join(lines) + "\n")
    remove_dataset("own")
    with pytest.raises(DataError, match="line 51: 'N5' is no list of shown items"):
        add_dataset("own", found)


def test_book_crossing_as_published(tmp_path: Path) -> None:
    header = '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S"'
    line = '"{id:010d}";"{title}";"A. Writer";"1999";"Alfred &amp; Knopf";"http://x/{id}.jpg"'
    books = listing(header, line, {5: 'Classical \\"Mythology\\"; Amélie &amp; I'}, "\r\n").encode("latin-1")
    ratings = text('"User-ID";"ISBN";"Book-Rating"', '"{user}";"{item:010d}";"{rating}"', "\r\n")
    ratings += '"7";"B000UNLISTED";"0"\r\n'
    added = folder(tmp_path / "bx", {"BX-Book-Ratings.csv": ratings, "BX-Books.csv": books})
    whole(added, timed=False)
    assert added.left_out == 1
    assert added.dataset.catalogue.titles[4] == 'Classical "Mythology"; Amélie & I'


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("book_id,goodreads_book_id,best_book_id,isbn,isbn13,authors,original_title,title",
         '{id},{id}7,{id}7,00{id}X,9.78e+12,"A, B",Original,"{title} (Series, #1)"'),
        ("id,book_id,best_book_id,work_id,isbn,authors,original_title,title",
         '{id},{id}7,{id}7,{id}3,00{id}X,"A, B",Original,"{title} (Series, #1)"'),
    ],
)  # fmt: skip
def test_goodbooks_joins_by_what_the_ratings_hold(tmp_path: Path, header: str, line: str) -> None:
    ratings = text("user_id,book_id,rating", "{user},{item},{rating}")
    added = folder(tmp_path / "gb", {"ratings.csv": ratings, "books.csv": listing(header, line)})
    whole(added, timed=False)
    assert title(added) == "Title 5 (Series, #1)"


def reviews(item: str, moment: str) -> str:
    return "".join(
        json.dumps(
            {
                "overall": float(act.rating),
                "reviewerID": f"A{act.user}",
                "asin": f"B{act.item}",
                "reviewerName": "N. \"Nick\" Name",
                "style": {"Size:": "L"},
                "reviewText": "good,\nreally",
                "reviewTime": f"{act.moment:%m %d, %Y}",
                "unixReviewTime": act.second,
            }
            if item == "asin"
            else {
                "rating": float(act.rating),
                "title": "Five stars",
                "text": "good",
                "images": [],
                "asin": f"V{act.item}",
                "parent_asin": f"B{act.item}",
                "user_id": f"A{act.user}",
                "timestamp": act.second * 1000,
                "verified_purchase": True,
            }
        )
        + "\n"
        for act in acts()
    )  # fmt: skip


def products(key: str) -> str:
    return "".join(
        json.dumps(
            {"category": ["Books"], "title": name, "description": ["x"], "price": None, key: f"B{item}"}
        )
        + "\n"
        for item, name in titles({5: 'A "B", C &amp; D'}).items()
    )


def test_amazon_2018_and_2023_join_by_asin_and_by_parent_asin(tmp_path: Path) -> None:
    old = {
        "All_Beauty.json.gz": gzip.compress(reviews("asin", "").encode()),
        "meta_All_Beauty.json.gz": gzip.compress((products("asin") * 2).encode()),
    }
    added = folder(tmp_path / "old", old)
    whole(added, "B", "A7")
    assert title(added, "B") == 'A "B", C & D'
    remove_dataset("own")
    new = {"All_Beauty.jsonl": reviews("parent_asin", ""), "meta_All_Beauty.jsonl": products("parent_asin")}
    whole(folder(tmp_path / "new", new), "B", "A7")


def test_amazon_ratings_without_names_have_the_item_first_or_second(tmp_path: Path) -> None:
    meta = listing("asin,title", "B{id},{title}")
    whole(add(tmp_path, text("", "B{item},A{user},{rating}.0,{second}"), meta), "B", "A7")
    remove_dataset("own")
    whole(add(tmp_path, text("", "A{user},B{item},{rating}.0,{second}"), meta), "B", "A7")


def test_rees46_is_ordered_by_event_time(tmp_path: Path) -> None:
    header = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
    line = "{m:%Y-%m-%d %H:%M:%S} UTC,view,{item},2053013555631882655,,samsung,{rating}.50,{user},7f-{second}"
    whole(add(tmp_path, text(header, line), listing("product_id,title", "{id},{title}")))


def test_yelp_is_joined_by_business(tmp_path: Path) -> None:
    review = "".join(
        json.dumps(
            {"review_id": f"r{place}", "user_id": f"u{act.user}", "business_id": f"b{act.item}",
             "stars": act.rating * 1.0, "text": "x\ny", "date": f"{act.moment:%Y-%m-%d %H:%M:%S}"}
        ) + "\n" for place, act in enumerate(acts())
    )  # fmt: skip
    business = "".join(
        json.dumps({"business_id": f"b{item}", "name": name, "stars": 4.5, "attributes": {"WiFi": "u'no'"}})
        + "\n"
        for item, name in titles().items()
    )
    files: dict[str, str | bytes] = {
        "yelp_academic_dataset_review.json": review,
        "yelp_academic_dataset_business.json": business,
    }
    whole(folder(tmp_path / "yelp", files), "b", "u7")


@pytest.mark.parametrize("kind", ["100k", "1m", "10m", "20m"])
def test_movielens_of_every_size(tmp_path: Path, kind: str) -> None:
    films = {5: "Misérables, Les (1995)"}
    files: dict[str, dict[str, str | bytes]] = {
        "100k": {
            "u.data": text("", "{user}\t{item}\t{rating}\t{second}"),
            "u.item": listing("", "{id}|{title}|01-Jan-1995||http://x|0|1", films).encode("latin-1"),
        },
        "1m": {
            "ratings.dat": text("", "{user}::{item}::{rating}::{second}"),
            "movies.dat": listing("", "{id}::{title}::Drama|Comedy", films).encode("latin-1"),
        },
        "10m": {
            "ratings.dat": text("", "{user}::{item}::{rating}.5::{second}"),
            "movies.dat": listing("", "{id}::{title}::Drama|Comedy", films),
        },
        "20m": {
            "ratings.csv": text(
                "userId,movieId,rating,timestamp", "{user},{item},{rating}.5,{second}", "\r\n"
            ),
            "movies.csv": listing("movieId,title,genres", '{id},"{title}",Drama|Comedy', films, "\r\n"),
        },
    }
    added = folder(tmp_path / kind, files[kind])
    whole(added)
    assert title(added) == "Les Misérables"


# --- exports of programs ---------------------------------------------------------------------------------


def frame() -> pd.DataFrame:
    return pd.DataFrame(acts(), columns=["user_id", "item_id", "rating", "timestamp"])


@pytest.mark.parametrize(
    "written",
    [
        lambda f: f.to_csv(),
        lambda f: f.to_csv(index=False),
        lambda f: f.to_csv(index_label="index"),
        lambda f: f.set_axis(range(4), axis=1).to_csv(),
        lambda f: f.set_axis(range(4), axis=1).to_csv(index=False),
        lambda f: f.astype(float).to_csv(index=False),
        lambda f: f.to_csv(index=False, sep=";", decimal=","),
        lambda f: f.assign(rating=f.rating + 0.5).to_csv(index=False, sep=";", decimal=","),
        lambda f: f.to_csv(index=False, quoting=1),
        lambda f: f.to_csv(index=False, lineterminator="\r\n") + "\r\n \r\n\r\n",
        lambda f: f.to_csv(index=False).replace("user_id,", "\ufeffuser_id,"),
        lambda f: f.to_csv(index=False, sep="\t").encode("utf-16"),
        lambda f: f.to_json(orient="records", lines=True),
        lambda f: f.to_json(orient="records"),
        lambda f: f.assign(timestamp=pd.to_datetime(f.timestamp, unit="s")).to_csv(),
        lambda f: f.assign(timestamp=pd.to_datetime(f.timestamp, unit="s", utc=True)).to_csv(),
        lambda f: f.assign(timestamp=f.timestamp.map(str)).to_json(orient="records", lines=True),
        lambda f: f.assign(timestamp=f.timestamp * 10**9).to_csv(index=False),
        lambda f: f.assign(timestamp=f.timestamp * 10**6).to_csv(index=False),
        lambda f: f.assign(timestamp=f.timestamp * 1000.0).to_csv(index=False),
    ],
)  # fmt: skip
def test_what_pandas_writes_is_read(tmp_path: Path, written: Callable[[pd.DataFrame], str | bytes]) -> None:
    added = add(tmp_path, written(frame()))
    whole(added)
    assert added.dataset.sequences["7"].timestamps[0] == min(act.second for act in acts() if act.user == 7)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, "zip"])
def test_packed_files_are_read_whatever_their_name(
    tmp_path: Path, pack: str | Callable[[bytes], bytes]
) -> None:
    def packed(content: str) -> bytes:
        if not isinstance(pack, str):
            return pack(content.encode())
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data/table.csv", content)
            archive.writestr("__MACOSX/data/._table.csv", b"\0")
        return sink.getvalue()

    from tests.data.own.acts import TIMED, TITLED

    whole(add(tmp_path, packed(TIMED), packed(TITLED)))
    assert load_dataset("own", silent).catalogue.titles[4] == "Title 5"


@pytest.mark.parametrize(
    "changed",
    [
        lambda f: f.assign(timestamp=pd.to_datetime(f.timestamp, unit="s")),
        lambda f: f.assign(timestamp=pd.to_datetime(f.timestamp, unit="s", utc=True)),
        lambda f: f.assign(timestamp=pd.to_datetime(f.timestamp, unit="s").dt.strftime("%Y-%m-%dT%H:%M:%SZ")),
        lambda f: f.assign(
            timestamp=pd.to_datetime(f.timestamp, unit="s").dt.strftime("%Y-%m-%d %H:%M:%S UTC")
        ),
        lambda f: f.assign(timestamp=f.timestamp * 1000),
        lambda f: f.assign(timestamp=f.timestamp * 10**9),
        lambda f: f.assign(timestamp=f.timestamp.astype(float)),
        lambda f: f.assign(timestamp=f.timestamp.map(str)),
        lambda f: f.assign(user_id=f.user_id.map(lambda user: str(user).encode())),
        lambda f: f.assign(item_id=f.item_id.astype(float)),
        lambda f: f.assign(item_id=f.item_id.map(lambda item: f"{item}.0")),
        lambda f: f.assign(user_id=f.user_id.astype("category")),
        lambda f: f.astype({"item_id": "Int64"}),
        lambda f: f.set_index("user_id"),
        lambda f: f.set_axis(["0", "1", "2", "3"], axis=1),
    ],
)
def test_parquet_is_read_as_the_same_table_in_csv(
    tmp_path: Path, changed: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    sink, items = io.BytesIO(), io.BytesIO()
    changed(frame()).to_parquet(sink)
    pd.DataFrame(
        {"item_id": range(1, ITEMS + 1), "title": [t.encode() for t in titles().values()]}
    ).to_parquet(items)
    added = add(tmp_path, sink.getvalue(), items.getvalue(), ("i.parquet", "t.parquet"))
    whole(added)
    assert title(added) == "Title 5"


def test_days_in_parquet_are_times(tmp_path: Path) -> None:
    sink = io.BytesIO()
    frame().assign(timestamp=pd.to_datetime(frame().timestamp, unit="s").dt.date).to_parquet(sink)
    added = add(tmp_path, sink.getvalue(), names=("i.parquet", "t.csv"))
    assert all(second % 86_400 == 0 for second in added.dataset.sequences["7"].timestamps)
