"""Titles read as people say them, and no two items share one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.reading.titles import make_unique, restore_article, split_year


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("American in Paris, An", "An American in Paris"),
        ("Usual Suspects, The", "The Usual Suspects"),
        ("Clockwork Orange, A", "A Clockwork Orange"),
        ("Postino, Il", "Il Postino"),
        ("Promesse, La", "La Promesse"),
        ("Misérables, Les", "Les Misérables"),
        ("Enfer, L'", "L'Enfer"),
        ("Boot, Das", "Das Boot"),
        ("Good, The Bad and The Ugly, The", "The Good, The Bad and The Ugly"),
        ("Cry, the Beloved Country", "Cry, the Beloved Country"),
        ("Paris, Texas", "Paris, Texas"),
        ("To Have, or Not", "To Have, or Not"),
        ("Hate (Haine, La)", "Hate (La Haine)"),
        (
            "Horseman on the Roof, The (Hussard sur le toit, Le)",
            "The Horseman on the Roof (Le Hussard sur le toit)",
        ),
        ("Star Maker, The (Uomo delle stelle, L')", "The Star Maker (L'Uomo delle stelle)"),
        ("Fille seule, La (A Single Girl)", "La Fille seule (A Single Girl)"),
        ("Maybe, Maybe Not (Bewegte Mann, Der)", "Maybe, Maybe Not (Der Bewegte Mann)"),
        ("Convent, The (Convento, O)", "The Convent (O Convento)"),
        ("Seventh Seal, The (Sjunde inseglet, Det)", "The Seventh Seal (Det Sjunde inseglet)"),
        (
            "Nosferatu (Nosferatu, eine Symphonie des Grauens)",
            "Nosferatu (Nosferatu, eine Symphonie des Grauens)",
        ),
        ("Shanghai Triad (Yao a yao yao dao waipo qiao)", "Shanghai Triad (Yao a yao yao dao waipo qiao)"),
        ("Truth or Consequences, N.M.", "Truth or Consequences, N.M."),
        ("The Innocent", "The Innocent"),
    ],
)
def test_articles_come_to_the_front(written: str, said: str) -> None:
    assert restore_article(written) == said
    assert restore_article(said) == said


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("Toy Story (1995)", ("Toy Story", "1995")),
        ("Hate (Haine, La) (1995) ", ("Hate (Haine, La)", "1995")),
        ("Great Giving (1995) (V)", ("Great Giving", "1995")),
        ("1-900 (1994)", ("1-900", "1994")),
        ("Blues Brothers 2000", ("Blues Brothers 2000", "")),
        ("(1995)", ("(1995)", "")),
    ],
)
def test_the_year_is_split_off(written: str, parts: tuple[str, str]) -> None:
    assert split_year(written) == parts


def test_shared_titles_keep_the_year_and_then_the_id() -> None:
    titles = ["Sabrina", "Sabrina", "Nightwatch", "Nightwatch", "Babe", "babe"]
    years = ["1954", "1995", "1997", "1997", "", ""]
    assert make_unique(titles, years, list("123456")) == (
        "Sabrina (1954)",
        "Sabrina (1995)",
        "Nightwatch (1997) [3]",
        "Nightwatch (1997) [4]",
        "Babe [5]",
        "babe [6]",
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(["A", "a", "A (1)", "A [1]", "A #1", "B"]), st.sampled_from(["", "1"]))
    )
)
def test_titles_always_come_out_unique(rows: list[tuple[str, str]]) -> None:
    ids = [str(place % 2) + "xX"[place // 2 % 2] + str(place // 4) for place in range(len(rows))]
    unique = make_unique([title for title, _ in rows], [year for _, year in rows], ids)
    assert len({title.casefold() for title in unique}) == len(rows)
    assert all(new.startswith(old) for new, (old, _) in zip(unique, rows, strict=True))
