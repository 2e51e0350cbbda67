"""docs/keys.md has every key, and no key that there is not."""

from __future__ import annotations

from tests.tui.keys import FILE, page, rows


def test_the_table_of_keys_is_that_of_the_bindings() -> None:
    assert FILE.read_text(encoding="utf-8") == page(), "python -m tests.tui.keys writes it anew"


def test_every_key_says_what_it_does() -> None:
    for where, keys, what, _ in rows():
        assert what, (where, keys)
        assert "(" not in what or " " in what, f"{where} {keys}: {what} is an action's name"
