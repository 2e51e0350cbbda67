"""Pictures of every place at two sizes: the characters of the saved SVG, compared with those of before.

`ILORA_APP_SNAPSHOTS=write pytest tests/tui/test_snapshots.py` writes them anew; look at the difference before
it is committed. Colours, fonts and markup may change with the libraries; the characters may not.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from ilora_app.tui.screens import train
from ilora_app.tui.screens.results import ResultsScreen
from ilora_app.tui.state.journal import Journal
from tests.tui.conftest import Drive, settle

FOLDER = Path(__file__).parent / "snapshots"
RESULTS = Path(__file__).parent / "recorded" / "results.json"
TABS = {"1": "explore", "2": "compare", "3": "train", "4": "results", "5": "curves"}
TEXT = re.compile(r'<text [^>]*x="([\d.]+)"[^>]*textLength="([\d.]+)"[^>]*-line-(\d+)\)">([^<]*)</text>')


def characters(svg: str) -> list[str]:
    """The lines of a saved screen; runs of spaces count as two, so that a column may be a cell wider."""
    lines: dict[int, str] = {}
    for x, length, row, raw in TEXT.findall(svg):
        text = html.unescape(raw).replace("\xa0", " ")
        if not cell_len(text):
            continue
        cell = float(length) / cell_len(text)
        line = lines.get(int(row), "")
        lines[int(row)] = line + " " * (round(float(x) / cell) - cell_len(line)) + text
    assert lines, "the picture has another format"
    return [re.sub(r"(?<=\S) {2,}", "  ", lines.get(row, "").rstrip()) for row in range(max(lines) + 1)]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("key", TABS)
async def test_the_picture_is_as_it_was(
    drive: Drive, monkeypatch: pytest.MonkeyPatch, key: str, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(
        train, "local_methods", lambda: ("popularity", "sasrec", "zero-shot", "lora", "ilora")
    )

    async def keep(screen: ResultsScreen) -> None:
        screen.take(0, RESULTS.read_text(encoding="utf-8"), "")

    monkeypatch.setattr(Journal, "add", lambda *_, **__: None)  # its lines have times, and come as they come
    monkeypatch.setattr(ResultsScreen, "_load", lambda screen: screen.run_worker(keep(screen)))
    async with drive(size=size) as (app, pilot):
        await pilot.press(key)
        await pilot.pause(0.5)
        await settle(pilot)
        drawn = "\n".join(characters(app.export_screenshot())) + "\n"
    file = FOLDER / f"{TABS[key]}-{size[0]}x{size[1]}.txt"
    if os.environ.get("ILORA_APP_SNAPSHOTS") == "write":
        FOLDER.mkdir(exist_ok=True)
        file.write_text(drawn, encoding="utf-8")
    assert drawn == file.read_text(encoding="utf-8")
