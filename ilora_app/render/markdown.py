"""A report as Markdown: words and tables; the plots are on the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from core.safe_text import markdown as safe
from core.safe_text import markdown_code
from ilora_app.render.blocks import Block, Code, Heading, More, Plot, Section, Words
from ilora_app.render.text_tables import TextTable, markdown


def as_markdown(sections: Sequence[Section], problems: Sequence[str]) -> str:
    """The whole text."""
    parts = ["# Benchmark report", ""]
    parts += [f"> left out: {safe(problem)}\n" for problem in problems]
    for section in sections:
        parts += [f"## {safe(section.title)}", "", *_lines(section.blocks, 3)]
    return "\n".join(parts)


def _lines(blocks: Iterable[Block], level: int) -> Iterator[str]:
    for block in blocks:
        if isinstance(block, Words):
            yield f"**{safe(block.text)}**\n" if block.strong else f"{safe(block.text)}\n"
        elif isinstance(block, Heading):
            yield f"{'#' * level} {safe(block.text)}\n"
        elif isinstance(block, Code):
            yield f"```\n{markdown_code(block.text)}\n```\n"
        elif isinstance(block, TextTable):
            yield markdown(block, level + 1)
        elif isinstance(block, Plot):
            yield f"*{safe(block.title)}: a plot in report.html.* {safe(block.note)}\n"
        elif isinstance(block, More):
            yield f"{'#' * level} {safe(block.title)}\n"
            yield from _lines(block.blocks, level + 1)
