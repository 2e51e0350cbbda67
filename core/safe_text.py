"""Makes foreign text safe for where it goes: a terminal, HTML, Markdown, CSV, SVG, JSON.

Titles, names of folders, results and what servers say are other people's words. None of them may move the
cursor, be read as markup, run as a script, or be computed as a formula. Everything that is shown passes here.
"""

from __future__ import annotations

import html as _html
import json
import re
import xml.etree.ElementTree as ET
from typing import Any

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
"""What moves, colours or reorders a terminal's text, and halves of characters that no file can take."""
INSTEAD = "\ufffd"
"""Stands for a character that is not shown."""


def plain(text: str) -> str:
    """Text for a terminal: tabs and line breaks stay, whatever else would act on the screen is replaced."""
    return _CONTROL.sub(INSTEAD, text)


def plain_values(value: Any) -> Any:
    """A value from JSON with every text in it as `plain` gives it."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [plain_values(entry) for entry in value]
    if isinstance(value, dict):
        return {plain(key): plain_values(entry) for key, entry in value.items()}
    return value


def html(text: str) -> str:
    """Text for an HTML or SVG element or a quoted attribute."""
    return _html.escape(plain(text), quote=True)


_MARKDOWN = re.compile(r"<|`|!?\](?=[(\[:])|\n")


def markdown(text: str) -> str:
    """Text for a line of Markdown: no HTML, no link, no picture, no code, no line of its own."""
    instead = {"<": "&lt;", "`": "\\`", "\n": " "}
    return _MARKDOWN.sub(lambda found: instead.get(found[0], "\\" + found[0]), plain(text))


def markdown_code(text: str) -> str:
    """Text for a fenced block of Markdown, whose end it cannot contain."""
    return plain(text).replace("```", "'''")


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet computes: text that begins like a formula gets an apostrophe."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text


def json_text(text: str, encoding: str | None = "utf-8") -> str:
    """JSON as a terminal of this encoding can show it; a program reads the same values as before."""
    ascii_only = (encoding or "").lower().replace("-", "") != "utf8"
    return (_NOT_ASCII if ascii_only else _CONTROL).sub(_escaped, text)


_NOT_ASCII = re.compile("[\x7f-\U0010ffff]")


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    return character if character in "\r\t" else json.dumps(character)[1:-1]


# --- pictures --------------------------------------------------------------------------------------------

_SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = ("svg", "g", "title", "text", "line", "circle", "path", "rect")
_ATTRIBUTES = (
    "aria-label", "class", "cx", "cy", "d", "fill-opacity", "height", "r", "role", "rx", "style",
    "text-anchor",
    "viewBox", "width", "x", "x1", "x2", "y", "y1", "y2",
)  # fmt: skip
_STYLE = re.compile(r"(--c|fill|opacity):(var\(--[\w-]+\)|#[0-9a-fA-F]{3,8}|[\d.]+)?;?")


def svg(text: str) -> str:
    """A plot as `ilora_app.render.charts` draws it, rebuilt from what such a plot may hold, and no more.

    Raises:
        ValueError: it is no SVG.
    """
    if "<!" in text:
        raise ValueError("a plot has no document type and no comments")
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, RecursionError, ValueError) as error:
        raise ValueError(f"no SVG: {error}") from error
    if root.tag != f"{{{_SVG}}}svg":
        raise ValueError("no SVG: another element")
    return _svg_element(root, is_root=True)


def _svg_element(element: ET.Element, is_root: bool = False, depth: int = 0) -> str:
    name = element.tag.removeprefix(f"{{{_SVG}}}")
    if name not in _ELEMENTS or depth > 8:
        return ""
    given = {key: value for key, value in element.attrib.items() if key in _ATTRIBUTES}
    if "style" in given and not _STYLE.fullmatch(given["style"]):
        del given["style"]
    head = f' xmlns="{_SVG}"' * is_root + "".join(f' {key}="{html(value)}"' for key, value in given.items())
    inner = "".join(_svg_element(child, depth=depth + 1) for child in element)
    return f"<{name}{head}>{html(element.text or '')}{inner}</{name}>"
