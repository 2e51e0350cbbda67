"""Chooses one of the runs on disk."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer

from core.serving.protocol import RunListed
from ilora_app.render.figures import method_name, share
from ilora_app.tui.drawing.bars import fit
from ilora_app.tui.widgets.rows import Cell, Rows


class RunList(Rows):
    """Runs on disk, newest first."""

    def __init__(self, runs: list[RunListed]) -> None:
        super().__init__(id="runs")
        self.runs = runs

    def head(self, width: int) -> str:
        """Column names."""
        return fit(f"  {'method':<10}{'dataset':<14}{'seed':>4}  {'HR@1':<14}made", width)

    def cells(self, index: int, width: int) -> list[Cell]:
        """Method, dataset, seed, HR@1, when."""
        run = self.runs[index]
        measured: dict[str, dict[str, float]] = run["metrics"]
        name = next(iter(measured), "")
        metrics = measured.get(name, {})
        hits = f"{share(metrics['HR@1'])} {name}" if "HR@1" in metrics else "–"
        return [
            (" " + fit(method_name(run["method"]), 10), "bright"),
            (fit(run["dataset"], 14), ""),
            (fit(str(run["seed"]), 4, True) + "  ", "dim"),
            (fit(hits, 14), "first"),
            (fit(run["created"][:16].replace("T", " "), width - 45), "dim"),
        ]


class PickRun(ModalScreen[str]):
    """Gives the path of the chosen run; an empty string for none."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss('')", "Back")]

    def __init__(self, title: str, runs: list[RunListed]) -> None:
        super().__init__()
        self.title_text, self.runs = title, runs

    def compose(self) -> ComposeResult:
        """The list."""
        with Vertical(id="search") as box:
            box.border_title = f"Choose the {self.title_text}"
            rows = RunList(self.runs)
            rows.empty = "No run on disk.\nescape, then 3 trains one."
            yield rows
            yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """The rows are there from the start."""
        rows = self.query_one(RunList)
        rows.renew(len(self.runs))
        rows.focus()

    @on(Rows.Chosen)
    def _chosen(self, message: Rows.Chosen) -> None:
        self.dismiss(str(self.runs[message.index]["path"]))


class NameList(Rows):
    """Names to choose from."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(id="names")
        self.names = names

    def cells(self, index: int, width: int) -> list[Cell]:
        """The name."""
        return [(" " + fit(self.names[index], width - 1), "bright")]


class PickName(ModalScreen[str]):
    """Gives the chosen name; an empty string for none.

    Args:
        title: what is chosen.
        names: what there is.
        empty: what is said where there is nothing.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss('')", "Back")]

    def __init__(self, title: str, names: list[str], empty: str) -> None:
        super().__init__()
        self.title_text, self.names, self.empty = title, names, empty

    def compose(self) -> ComposeResult:
        """The list."""
        with Vertical(id="search") as box:
            box.border_title = self.title_text
            rows = NameList(self.names)
            rows.empty = self.empty
            yield rows
            yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """The rows are there from the start."""
        rows = self.query_one(NameList)
        rows.renew(len(self.names))
        rows.focus()

    @on(Rows.Chosen)
    def _chosen(self, message: Rows.Chosen) -> None:
        self.dismiss(self.names[message.index])
