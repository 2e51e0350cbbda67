"""Results: the leaderboard of all runs on disk, with intervals as bars; Enter opens a run in Explore."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

from rich.cells import cell_len
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from core.safe_text import plain_values
from ilora_app.render.figures import NONE, duration, plural, share
from ilora_app.starting import AGAIN
from ilora_app.tui.drawing.bars import fit, interval_bar
from ilora_app.tui.screens.main_screen import TabScreen
from ilora_app.tui.state.app_state import not_here
from ilora_app.tui.state.grid import Grid, Value
from ilora_app.tui.state.leaderboard_rows import OTHER_SORTS, Line, Metric, arrange, lines_of, metrics_of
from ilora_app.tui.widgets.rows import Cell, Rows

LEAST_NAME, LEAST_GAUGE = 14, 8
"""Cells that a method's name and its interval are drawn in at least."""
LEGEND = "★ best  ≈ not to be told apart  ¶ reported"


class MethodRows(Rows):
    """Every method that was measured, on the same cases.

    ★ highest HR@1, ≈ not to be told apart from it, ¶ reported by the paper under another protocol.
    ├─●─┤ is the 95 % interval of HR@1 between 0 and 1. Enter opens a run in Explore; `o` sorts by another
    column, `f` filters by dataset, `v` shows or hides the reported rows, `e` changes the test set.
    """

    TITLE: ClassVar[str] = "Results"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "Open", id="results.open"),
        Binding("o", "screen.sort", "Sort", tooltip="sort by the next column", id="results.sort"),
        Binding("f", "screen.filter", "Dataset", tooltip="the next dataset, or all", id="results.dataset"),
        Binding(
            "v",
            "screen.toggle_reported",
            "Reported",
            show=False,
            tooltip="show or hide the paper's rows",
            id="results.reported",
        ),
        Binding("e", "screen.test_set", "Test set", tooltip="the next test set", id="results.test-set"),
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lines: list[Line] = []
        self.metrics: list[tuple[str, int]] = []
        """Columns beside HR@1, with their widths."""

    def show(self, lines: list[Line], metrics: list[Metric]) -> None:
        """Other lines."""
        self.lines = lines
        self.metrics = [(metric.name, max(6, len(metric.name) + 1)) for metric in metrics[1:]]
        self.renew(len(lines))

    def grid(self) -> Grid:
        """Every line with all metrics, the interval of HR@1, cases, preset, seeds and training time."""
        names = ["HR@1", *(name for name, _ in self.metrics)]
        heads = ["dataset", "method", "test set", *names, "HR@1 low", "HR@1 high", "cases", "preset"]
        rows = []
        for line in self.lines:
            hits = line.metrics.get("HR@1", {})
            cells: list[Value] = [line.dataset, line.label, line.test_set]
            cells += [line.metrics.get(name, {}).get("value") for name in names]
            cells += [hits.get("low"), hits.get("high"), hits.get("n"), line.preset]
            rows.append((*cells, len(line.seeds), line.train_seconds))
        return Grid("Results", (*heads, "seeds", "seconds of training"), tuple(rows))

    def _layout(self, width: int) -> tuple[int, int, list[tuple[str, int]], bool]:
        """Widths of name and interval, the metrics that fit beside them, and whether all else fits too.

        A metric is left out where there is no room for it: half a figure would read as another one.
        """
        wide = width >= 104
        room = width - 3 - 6 - 9 - (28 if wide else 0)
        metrics = list(self.metrics)
        while metrics and room - sum(taken for _, taken in metrics) < LEAST_NAME + LEAST_GAUGE:
            metrics.pop()
        room -= sum(taken for _, taken in metrics)
        longest = max((cell_len(line.label) for line in self.lines), default=LEAST_NAME)
        label = min(longest + 1, max(LEAST_NAME, room // 2))
        return label, max(LEAST_GAUGE, min(44, room - label)), metrics, wide

    def head(self, width: int) -> str:
        """Column names."""
        label, gauge, metrics, wide = self._layout(width - 1)
        rest = f"{fit('preset', 9)}{fit('seeds', 6, True)}{fit('trained', 10, True)}" if wide else ""
        scale = fit(fit("0", gauge // 2) + "½", gauge - 1) + "1"
        columns = "".join(fit(name, room, True) for name, room in (*metrics, ("cases", 7)))
        return fit(f"    {fit('method', label)}{fit('HR@1', 6)}{scale}{columns} {rest}", width)

    def cells(self, index: int, width: int) -> list[Cell]:
        """One method."""
        line = self.lines[index]
        label, gauge, metrics, wide = self._layout(width)
        hits = line.metrics.get("HR@1", {})
        sign = "¶" if line.reported else "★" if line.best else "≈" if line.level else " "
        ink = "dim" if line.reported else "good" if line.best or line.level else "bright"
        drawn = interval_bar(hits.get("low"), line.value("HR@1"), hits.get("high"), gauge)
        cells: list[Cell] = [
            (f" {sign} ", "accent"),
            (fit(line.label, label - 1) + " ", ink),
            (fit(share(hits.get("value")), 6), "bright"),
            (drawn, "dim" if line.reported else "first"),
        ]
        for metric, room in metrics:
            cells.append((fit(share(line.metrics.get(metric, {}).get("value")), room, True), ""))
        n = hits.get("n")
        cells.append((fit(f"{n:,}" if n else NONE, 7, True) + " ", "dim"))
        if wide:
            took = duration(line.train_seconds or None)
            seeds = str(len(line.seeds)) if line.seeds else NONE
            cells.append((fit(line.preset or NONE, 9), "second"))
            cells.append((fit(seeds, 6, True) + fit(took, 10, True), "dim"))
        return cells


class ResultsScreen(TabScreen):
    """The table is made by a process of its own, so that the screen stays alive."""

    TAB = "results"

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []
        self.problems: list[str] = []
        self.gains: list[str] = []
        self.metrics: list[Metric] = []
        self.sort, self.dataset, self.test_set = "", "", ""
        self.reported = True
        self.state = "reading the results …"

    def content(self) -> ComposeResult:
        """The leaderboard, and what its cursor is on."""
        yield MethodRows(id="leaderboard", classes="pane")
        yield Static(id="detail", classes="pane", markup=False)

    def on_mount(self) -> None:
        """The leaderboard has the keyboard; results are read when the screen is resumed."""
        self.query_one(MethodRows).focus()

    def catch_up(self) -> None:
        """Results may have come while another tab was shown."""
        if self.is_mounted:
            self._load()
            self._draw()

    @work(exclusive=True, group="results")
    async def _load(self) -> None:
        if elsewhere := not_here(self.app_state.attached, "read results", "ilora-app results"):
            self.state = elsewhere
            self._draw()
            return
        command = [*AGAIN, "results", "--json", "--demo"]
        command += ["--out", str(self.app_state.out)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True
        )
        try:
            said, complained = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        if self.query(MethodRows):  # the program may have been left meanwhile
            code, words = process.returncode or 0, complained.decode("utf-8", errors="replace")
            self.take(code, said.decode("utf-8"), words)

    def take(self, code: int, said: str, complained: str) -> None:
        """What the reading process printed."""
        if code:
            words = [line for line in complained.splitlines() if line.startswith(("error", "hint"))]
            self.lines = []
            self.state = "\n".join([*words, "Press 3 to train: that makes the first results."])
            self._draw()
            return
        record: dict[str, Any] = plain_values(json.loads(said))
        self.lines, self.problems = lines_of(record, self.app_state.out), record["problems"]
        self.metrics = metrics_of(record)
        if self.sort not in self._sorts():
            self.sort = self._sorts()[0]
        self.gains = [_gain(table) for table in record["tables"]]
        sets = list(dict.fromkeys(line.test_set for line in self.lines))
        if self.test_set not in sets:
            self.test_set = sets[0] if sets else ""
        self.state = "Nothing fits this filter.\nPress f for the next dataset."
        self._draw()

    def _draw(self) -> None:
        leaderboard = self.query_one(MethodRows)
        leaderboard.empty = self.state
        rising = any(metric.name == self.sort and not metric.higher_is_better for metric in self.metrics)
        lines = arrange(self.lines, self.test_set, self.dataset, self.sort, self.reported, rising)
        leaderboard.show(lines, self.metrics)
        where = self.dataset or "all datasets"
        leaderboard.border_title = f"Results · {where} · test set {self.test_set or '–'}"
        hidden = "" if self.reported else " · reported rows hidden: v"
        by = f" · by {self.sort}{hidden}" if self.sort else ""
        leaderboard.border_subtitle = f"{LEGEND}{by}"
        self._detail()

    @on(Rows.Highlighted, "#leaderboard")
    def _detail(self) -> None:
        leaderboard = self.query_one(MethodRows)
        panel = self.query_one("#detail", Static)
        parts = list(filter(None, self.gains))
        if leaderboard.lines:
            line = leaderboard.lines[min(leaderboard.cursor, len(leaderboard.lines) - 1)]
            hits = line.metrics.get("HR@1", {})
            if line.reported:
                parts.insert(0, f"{line.label}: reported, not measured here. {line.source}")
            elif hits.get("low") is not None:
                interval = f"[{share(hits['low'])}, {share(hits['high'])}]"
                kept = "Enter opens it" if line.run(self.app_state.out) else "no model kept"
                facts = [
                    line.label,
                    f"HR@1 {share(hits['value'])} {interval}",
                    plural(hits["n"], "case"),
                    line.model,
                    kept,
                ]
                parts.insert(0, " · ".join(filter(None, facts)))
        if self.problems:
            parts.append(f"left out: {self.problems[0]}" + (" …" if len(self.problems) > 1 else ""))
        panel.update("\n".join(parts))

    @on(Rows.Chosen, "#leaderboard")
    async def _open(self) -> None:
        leaderboard = self.query_one(MethodRows)
        if not leaderboard.lines:
            return
        path = leaderboard.lines[leaderboard.cursor].run(self.app_state.out)
        if path is None:
            self.notify("This row kept no model: open SASRec, LoRA or iLoRA.", severity="warning")
            return
        self.app_state.open(str(path))
        await self.ilora.action_go("explore")

    def action_sort(self) -> None:
        """By the next column."""
        sorts = self._sorts()
        self.sort = sorts[(sorts.index(self.sort) + 1) % len(sorts)] if self.sort in sorts else sorts[0]
        self._draw()

    def _sorts(self) -> list[str]:
        """What the lines can be sorted by, the deciding metric first."""
        return [*(metric.name for metric in self.metrics), *OTHER_SORTS]

    def action_filter(self) -> None:
        """The next dataset, or all."""
        names = ["", *dict.fromkeys(line.dataset for line in self.lines)]
        self.dataset = names[(names.index(self.dataset) + 1) % len(names)] if self.dataset in names else ""
        self._draw()

    def action_toggle_reported(self) -> None:
        """Published rows, shown or hidden."""
        self.reported = not self.reported
        self._draw()

    def action_test_set(self) -> None:
        """The next test set."""
        sets = list(dict.fromkeys(line.test_set for line in self.lines))
        if sets:
            self.test_set = sets[(sets.index(self.test_set) + 1) % len(sets)]
            self._draw()


def _gain(table: dict[str, Any]) -> str:
    """iLoRA over LoRA in one line."""
    found = table.get("ilora_over_lora")
    if not found:
        return ""
    test_set = next(iter(table["sets"]))
    gain = found[test_set]
    line = f"{table['dataset']}: iLoRA − LoRA {100 * gain['difference']:+.1f} points of HR@1"
    if gain["low"] is not None:
        line += f" [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]"
    return f"{line}, {gain['n']:,} {test_set} cases"
