"""The building blocks of a report: paragraphs, plots, text_tables and sections."""

from __future__ import annotations

from dataclasses import dataclass

from ilora_app.render.text_tables import TextTable


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Plot:
    """A plot with its title and what it rests on."""

    title: str
    svg: str
    note: str = ""


@dataclass(frozen=True)
class Code:
    """Something typed or printed word for word."""

    text: str


@dataclass(frozen=True)
class Heading:
    """Begins a part of a section."""

    text: str


@dataclass(frozen=True)
class More:
    """What is folded away until somebody asks."""

    title: str
    blocks: tuple[Block, ...]


Block = Words | Plot | Code | Heading | TextTable | More


@dataclass(frozen=True)
class Section:
    """One table with everything that belongs to it."""

    title: str
    blocks: tuple[Block, ...]
