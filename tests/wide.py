"""A made-up dataset with more items than any user meets, and users who come one after the other in time."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from core.assets import spec
from tests import tiny

USERS, ITEMS = 40, 120
TITLES = tuple(f"{number} {animal}" for animal in tiny.ANIMALS for number in range(1, ITEMS // 8 + 1))


def ratings() -> bytes:
    """Each user watches films in the catalogue's order from somewhere on; later users start further on."""
    draw = random.Random(5)
    lines = []
    for user in range(1, USERS + 1):
        first, start = draw.randrange(70) + user, 100_000 + 40 * user + draw.randrange(400)
        for place in range(draw.randint(8, 16)):
            item = (first + 2 * place) % ITEMS + 1
            lines.append(f"{user}\t{item}\t{draw.choice((3, 4, 5))}\t{start + 20 * place}\n")
    return "".join(lines).encode()


def films() -> bytes:
    return "".join(f"{item}|{title}|Animals\n" for item, title in enumerate(TITLES, 1)).encode()


def card(times: bool = True) -> str:
    """The card of the two files above; without times it names no such column."""
    content, kept = tiny.card(), ratings().count(b"\n")
    old = tiny.ratings().count(b"\n")
    changes = {
        'name = "tiny"': 'name = "wide"',
        hashlib.sha256(tiny.ratings()).hexdigest(): hashlib.sha256(ratings()).hexdigest(),
        hashlib.sha256(tiny.films()).hexdigest(): hashlib.sha256(films()).hexdigest(),
        f"size = {len(tiny.ratings())}": f"size = {len(ratings())}",
        f"size = {len(tiny.films())}": f"size = {len(films())}",
        f"users = {tiny.USERS}\nitems = {tiny.ITEMS}": f"users = {USERS}\nitems = {ITEMS}",
        f"interactions = {old}\nkept = {old}": f"interactions = {kept}\nkept = {kept}",
        "timestamp = 3\n": "timestamp = 3\n" if times else "",
    }
    for before, after in changes.items():
        assert before in content, before
        content = content.replace(before, after)
    return content


def install(home: Path, mirror: Path) -> dict[str, str]:
    """Puts the card into the product's home and the files into a mirror; the environment that finds them."""
    (home / "cards").mkdir(parents=True, exist_ok=True)
    (home / "cards" / "wide.toml").write_text(card(), encoding="utf-8")
    (mirror / "wide").mkdir(parents=True, exist_ok=True)
    (mirror / "wide" / "ratings.tsv").write_bytes(ratings())
    (mirror / "wide" / "films.txt").write_bytes(films())
    return {spec.HOME_VARIABLE: str(home), spec.MIRROR_VARIABLE: str(mirror)}
