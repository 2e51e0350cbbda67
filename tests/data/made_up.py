"""A made-up dataset in the form of a card and two small files; no real user is in it."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

ITEMS = 60
USERS = 12


def ratings(users: int = USERS, items: int = ITEMS, seed: int = 1) -> bytes:
    """Tab-separated user, item, rating and timestamp: ten different items each, rated 1 to 5."""
    draw = random.Random(seed)
    rows = []
    for user in range(1, users + 1):
        for place, item in enumerate(draw.sample(range(1, items + 1), 10)):
            rows.append(f"{user}\t{item}\t{draw.randint(1, 5)}\t{1000 + place // 2}\n")
    draw.shuffle(rows)
    return "".join(rows).encode()


def films(items: int = ITEMS) -> bytes:
    """`id|title|tags` lines."""
    return "".join(
        f"{item}|Film {item}, The (19{item:02d})|Drama Comedy\n" for item in range(1, items + 1)
    ).encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kept(content: bytes, least: float = 3) -> int:
    return sum(float(line.split("\t")[2]) >= least for line in content.decode().splitlines())


def card(
    interactions: bytes | None = None, items: bytes | None = None, address: str = "http://127.0.0.1:9"
) -> str:
    """The card of these two files, served under `address`."""
    interactions = ratings() if interactions is None else interactions
    items = films() if items is None else items
    return f"""
name = "made-up"
title = "Made up"
description = "Nothing real."
homepage = "https://example.org"
citation = "None."
noun = "film"

[licence]
name = "CC0"
url = "https://example.org/licence"
redistribution = "Anything goes."

[[sources]]
name = "local"
kind = "url"

[[sources.files]]
name = "ratings.tsv"
address = "{address}/ratings.tsv"
sha256 = "{sha256(interactions)}"
size = {len(interactions)}

[[sources.files]]
name = "films.txt"
address = "{address}/films.txt"
sha256 = "{sha256(items)}"
size = {len(items)}

[sources.interactions]
file = "ratings.tsv"
user = 0
item = 1
rating = 2
timestamp = 3

[sources.items]
file = "films.txt"
separator = "|"
id = 0
title = 1
tags = 2

[titles]
style = "trailing-article"

[rules]
min_rating = 3

[expected]
users = {USERS}
items = {ITEMS}
interactions = {USERS * 10}
kept = {kept(ratings())}

[prompts]
history = "Seen:"
item = "{{title}}"
ask = "Next:"
language_model = "Seen {{history}}. Choose from {{candidates}}:"

[split]
test_users = ["2", "3"]
validation_users = ["4"]

[[reported]]
method = "Best"
hit_ratio_at_1 = 0.5
source = "nowhere"
"""


def mirror(folder: Path) -> Path:
    """A mirror folder that has the two files."""
    (folder / "made-up").mkdir(parents=True)
    (folder / "made-up" / "ratings.tsv").write_bytes(ratings())
    (folder / "made-up" / "films.txt").write_bytes(films())
    return folder


def written(folder: Path, interactions: bytes) -> dict[str, Path]:
    """Writes the two files as the cache would hold them; stored name -> path."""
    contents = {"ratings.tsv": interactions, "films.txt": films()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}
