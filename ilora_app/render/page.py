"""A report as one HTML page that needs nothing else: no script, no font, no address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.safe_text import html as escape
from ilora_app.render.blocks import Block, Code, Heading, More, Plot, Section, Words
from ilora_app.render.charts import styles
from ilora_app.render.text_tables import TextTable

_STYLE = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 20px 80px}
h1{font-size:26px;margin:8px 0 4px}
h2{font-size:21px;margin:44px 0 8px;padding-top:20px;border-top:2px solid var(--grid)}
h3{font-size:17px;margin:34px 0 6px}
h4{font-size:14px;margin:22px 0 2px}
p{margin:6px 0;max-width:80ch}
p.note,figcaption{color:var(--dim);font-size:13px;max-width:90ch}
p.strong{font-size:17px;font-weight:600}
nav a{margin-right:18px}
a{color:var(--m-lora)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13.5px;font-variant-numeric:tabular-nums;margin:6px 0 14px}
th{font-weight:600;text-align:right;vertical-align:bottom;color:var(--dim);white-space:pre-line}
td{text-align:right;white-space:nowrap}
th.word,td.word{text-align:left}
td.long{white-space:normal;min-width:18ch}
th,td{padding:4px 16px 4px 0;border-bottom:1px solid var(--grid)}
tr.strong td{font-weight:600}
figure{margin:18px 0 10px}
figcaption b{display:block;color:var(--ink);font-size:14px}
pre{background:color-mix(in srgb,var(--grid) 45%,transparent);padding:10px 14px;border-radius:6px;
overflow-x:auto;font-size:13px}
details{margin:14px 0}
summary{cursor:pointer;color:var(--dim)}
@media print{details{display:none}main{max-width:none}}
"""


def as_html(sections: Sequence[Section], problems: Sequence[str]) -> str:
    """The whole page."""
    links = "".join(
        f'<a href="#t{place}">{escape(section.title)}</a>' for place, section in enumerate(sections)
    )
    body = [f"<h1>Benchmark report</h1><nav>{links if len(sections) > 1 else ''}</nav>"]
    body += [f'<p class="note">left out: {escape(problem)}</p>' for problem in problems]
    for place, section in enumerate(sections):
        body.append(
            f'<section id="t{place}"><h2>{escape(section.title)}</h2>{_html(section.blocks)}</section>'
        )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Benchmark report</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<style>{styles()}{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _html(blocks: Iterable[Block]) -> str:
    return "\n".join(_block(block) for block in blocks)


def _block(block: Block) -> str:
    if isinstance(block, Words):
        return f'<p class="{"strong" if block.strong else ""}">{escape(block.text)}</p>'
    if isinstance(block, Heading):
        return f"<h3>{escape(block.text)}</h3>"
    if isinstance(block, Code):
        return f"<pre>{escape(block.text)}</pre>"
    if isinstance(block, Plot):
        caption = f"<figcaption><b>{escape(block.title)}</b>{escape(block.note)}</figcaption>"
        return f"<figure>{caption}{block.svg}</figure>"
    if isinstance(block, More):
        return f"<details><summary>{escape(block.title)}</summary>{_html(block.blocks)}</details>"
    return _table(block)


def _table(text_table: TextTable) -> str:
    def cells(tag: str, words: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="{_kind(place, text, text_table)}">{escape(text)}</{tag}>'
            for place, text in enumerate(words)
        )

    note = f'<p class="note">{escape(text_table.note)}</p>' if text_table.note else ""
    rows = "".join(
        f'<tr class="{"strong" if place in text_table.strong else ""}">{cells("td", row)}</tr>'
        for place, row in enumerate(text_table.rows)
    )
    head = f"<thead><tr>{cells('th', text_table.columns)}</tr></thead>"
    table = f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>'
    return f"<h4>{escape(text_table.title)}</h4>{note}{table}"


def _kind(place: int, text: str, text_table: TextTable) -> str:
    if place >= text_table.words:
        return ""
    return "word long" if len(text) > 60 else "word"
