"""A report as Markdown: words and tables; the plots are on the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ilora_app.render.blocks import Block, Code, Heading, More, Plot, Section, Words
from ilora_app.render.sheets import Sheet, markdown


def as_markdown(sections: Sequence[Section], problems: Sequence[str]) -> str:
    """The whole text."""
    parts = ["# Benchmark report", ""]
    parts += [f"> left out: {problem}\n" for problem in problems]
    for section in sections:
        parts += [f"## {section.title}", "", *_lines(section.blocks, 3)]
    return "\n".join(parts)


def _lines(blocks: Iterable[Block], level: int) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Words):
            yield f"**{block.text}**\n" if block.strong else f"{block.text}\n"
        elif isinstance(block, Heading):
            yield f"{'#' * level} {block.text}\n"
        elif isinstance(block, Code):
            yield f"```\n{block.text}\n```\n"
        elif isinstance(block, Sheet):
            yield markdown(block, level + 1)
        elif isinstance(block, Plot):
            yield f"*{block.title}: a plot in report.html.* {block.note}\n"
        elif isinstance(block, More):
            yield f"{'#' * level} {block.title}\n"
            yield from _lines(block.blocks, level + 1)
