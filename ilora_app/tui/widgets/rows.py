"""A list that draws only the lines in sight: thousands of rows scroll as smoothly as ten."""

from __future__ import annotations

from textwrap import wrap
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ilora_app.tui.drawing.bars import fit
from ilora_app.tui.drawing.inks import ground, ink
from ilora_app.tui.state.grid import Grid

Cell = tuple[str, str]
"""Text of an exact width, and the name of its style: one of `Rows.INKS`, or nothing."""

POINTER = "›"
"""Marks the row under the cursor, beside the colour."""


class Cursor(ScrollView):
    """A row under the cursor and one under the mouse, and the keys that move the former."""

    count: reactive[int] = reactive(0)
    cursor: reactive[int] = reactive(0)
    hovered: reactive[int] = reactive(-1)

    def validate_cursor(self, cursor: int) -> int:
        """Within the rows."""
        return max(0, min(cursor, self.count - 1))

    def watch_hovered(self) -> None:
        """The row under the mouse is lit."""
        self.refresh()

    def action_step(self, by: int) -> None:
        """One row up or down."""
        self.cursor += by

    def action_first(self) -> None:
        """To the first row."""
        self.cursor = 0

    def action_last(self) -> None:
        """To the last row."""
        self.cursor = self.count - 1

    def on_leave(self) -> None:
        """No row under the mouse."""
        self.hovered = -1


class Rows(Cursor, can_focus=True):
    """Base of all lists. A subclass says how many rows there are and how each is drawn.

    Its help text is its docstring's; `empty` is what is shown when there is no row.
    """

    INKS: ClassVar[tuple[str, ...]] = ("dim", "bright", "accent", "good", "bad", "second", "first", "head")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"rows--{ink}" for ink in INKS),
        "rows--cursor",
        "rows--hover",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "step(-1)", "Up", show=False, id="list.up"),
        Binding("down,j", "step(1)", "Down", show=False, id="list.down"),
        Binding("pageup", "leap(-1)", "Page up", show=False, id="list.page-up"),
        Binding("pagedown", "leap(1)", "Page down", show=False, id="list.page-down"),
        Binding("home,g", "first", "First", show=False, id="list.first"),
        Binding("end,G", "last", "Last", show=False, id="list.last"),
        Binding("enter", "choose", "Choose", show=False, id="list.choose"),
    ]

    empty: reactive[str] = reactive("")

    class Highlighted(Message):
        """The cursor is on another row."""

        def __init__(self, rows: Rows, index: int) -> None:
            super().__init__()
            self.rows, self.index = rows, index

        @property
        def control(self) -> Rows:
            """The list."""
            return self.rows

    class Chosen(Message):
        """A row was chosen with Enter or a second click."""

        def __init__(self, rows: Rows, index: int) -> None:
            super().__init__()
            self.rows, self.index = rows, index

        @property
        def control(self) -> Rows:
            """The list."""
            return self.rows

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._inks: dict[str, Style] = {}

    # --- for subclasses ---------------------------------------------------------------------------------

    def head(self, width: int) -> str:
        """The line above the rows; none when empty."""
        del width
        return ""

    def cells(self, index: int, width: int) -> list[Cell]:
        """The row as cells; together they are cut or padded to `width`."""
        raise NotImplementedError

    def more(self, index: int, width: int) -> list[Cell]:
        """The row's second line, where rows have two."""
        del index, width
        return []

    @property
    def tall(self) -> int:
        """Lines of a row."""
        return 1

    def grid(self) -> Grid | None:
        """All rows as a plain table, for the clipboard and for files; None where there is no such table."""
        return None

    # --- keeping ----------------------------------------------------------------------------------------

    def renew(self, count: int, cursor: int | None = None) -> None:
        """The rows have changed; the cursor stays where it can."""
        self.count = count
        wanted = self.cursor if cursor is None else cursor
        self.set_reactive(Rows.cursor, max(0, min(wanted, count - 1)))
        self._measure()
        self.refresh()
        self._follow()
        self.call_after_refresh(self._follow)  # once more when the new height is laid out

    @property
    def _top(self) -> int:
        return 1 if self.head(max(1, self.size.width)) else 0

    def _measure(self) -> None:
        wanted = Size(0, self.count * self.tall + self._top)
        if self.virtual_size != wanted:  # setting it makes Textual lay out the whole screen
            self.virtual_size = wanted

    def watch_cursor(self, old: int, new: int) -> None:
        """Tells, and scrolls there."""
        if old != new:
            self._follow()
            self.refresh()
            self.post_message(self.Highlighted(self, new))

    def watch_empty(self) -> None:
        """Another text for no rows."""
        self.refresh()

    def _follow(self) -> None:
        height = max(1, self.size.height - self._top)
        first, last = self.cursor * self.tall, (self.cursor + 1) * self.tall - 1
        top = round(self.scroll_offset.y)
        if first < top:
            self.scroll_to(y=first, animate=False)
        elif last >= top + height:
            self.scroll_to(y=last - height + 1, animate=False)

    def on_resize(self) -> None:
        """The head may come or go, and the cursor must stay in sight."""
        self._measure()
        self._follow()

    # --- drawing ----------------------------------------------------------------------------------------

    def ink(self, name: str) -> Style:
        """A style by its name in `INKS`."""
        if name not in self._inks:
            self._inks[name] = ink(self, f"rows--{name}") if name else Style.null()
        return self._inks[name]

    def _base(self) -> Style:
        """The list's own style."""
        if "base" not in self._inks:
            self._inks["base"] = self.rich_style
        return self._inks["base"]

    def notify_style_update(self) -> None:
        """Another theme, or focus: styles are looked up anew."""
        super().notify_style_update()
        self._inks.clear()

    def render_line(self, y: int) -> Strip:
        """One line in sight."""
        width, base = self.scrollable_content_region.width, self._base()
        top = self._top
        if self.count == 0:
            return self._empty_line(y, width, base)
        if y < top:
            line = Segment(fit(self.head(width), width), base + self.ink("head"))
            return Strip([line], width)
        index, below = divmod(y - top + round(self.scroll_offset.y), self.tall)
        if index >= self.count:
            return Strip.blank(width, base)
        under = index == self.cursor
        if under:
            base = base + ground(self, "rows--cursor")
        elif index == self.hovered:
            base = base + ground(self, "rows--hover")
        row = self.more(index, width - 1) if below else self.cells(index, width - 1)
        cells = [(POINTER if under and not below else " ", "accent"), *row]
        strip = Strip([Segment(text, base + self.ink(ink)) for text, ink in cells])
        return strip.adjust_cell_length(width, base)

    def _empty_line(self, y: int, width: int, base: Style) -> Strip:
        paragraphs = self.empty.splitlines()
        lines = [line for part in paragraphs for line in wrap(part, max(8, width - 2)) or [""]]
        first = len(wrap(paragraphs[0], max(8, width - 2))) if paragraphs else 0
        at = y - max(0, (self.size.height - len(lines)) // 2)
        text = lines[at] if 0 <= at < len(lines) else ""
        margin = max(0, (width - cell_len(text)) // 2)
        ink = self.ink("" if at < first else "dim")
        return Strip([Segment(fit(" " * margin + text, width), base + ink)], width)

    # --- moving -----------------------------------------------------------------------------------------

    def action_leap(self, by: int) -> None:
        """One page up or down."""
        self.cursor += by * max(1, (self.size.height - self._top) // self.tall - 1)

    def action_choose(self) -> None:
        """Chooses the row under the cursor."""
        if self.count:
            self.post_message(self.Chosen(self, self.cursor))

    def _row_at(self, y: int) -> int:
        index = (y - self._top + round(self.scroll_offset.y)) // self.tall
        return index if self._top <= y and 0 <= index < self.count else -1

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor, a double click chooses."""
        offset = event.get_content_offset(self)
        index = self._row_at(offset.y) if offset else -1
        if index < 0:
            return
        if event.chain > 1:
            self.action_choose()
        self.cursor = index

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Lights the row under the mouse."""
        offset = event.get_content_offset(self)
        self.hovered = self._row_at(offset.y) if offset else -1
