"""The command palette's entries: every tab, and every key of every pane, whatever has the focus."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from textual.app import SystemCommand
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen

from ilora_app.tui.drawing.themes import THEMES
from ilora_app.tui.screens.dialogs.help import BUILT_IN
from ilora_app.tui.sharing import copy
from ilora_app.tui.widgets.topbar import TABS

if TYPE_CHECKING:
    from ilora_app.tui.app import IloraTui

PLAIN = ("step", "leap", "first", "last", "choose", "go(", "go_", "dismiss", "leave")
"""Actions that the keyboard does better than a list, or that are listed in other words."""


def commands_of(app: IloraTui, screen: Screen[Any]) -> Iterable[SystemCommand]:
    """What can be done here, in the order: on this screen, elsewhere, always."""
    yield from _keys(app, screen)
    for number, tab in enumerate(TABS, start=1):
        yield SystemCommand(f"Go to {tab.title()}", f"key {number}", partial(app.action_go, tab))
    for theme in THEMES:
        name = theme.name.removeprefix("ilora-")
        yield SystemCommand(
            f"Theme: {name}", "key t takes the next", partial(setattr, app, "theme", theme.name)
        )
    yield SystemCommand("Export: save the table in focus as CSV or Markdown", "key S", app.action_save_table)
    for pane in ("history", "ranking"):
        if screen.query(f"#{pane}"):
            yield SystemCommand(f"Copy the {pane} to the clipboard", "key y on it", partial(copy, app, pane))
    yield SystemCommand(
        "Export: save the screen as a picture (SVG)",
        "key s",
        partial(app.call_after_refresh, app.action_export),
    )
    yield SystemCommand("Tour: six steps, each done live", "key F1", app.action_tour)
    yield SystemCommand("Restart the engine", "key ctrl+r · edits are kept", app.action_restart)
    yield SystemCommand("Help for the pane in focus", "key ?", app.action_help)
    yield SystemCommand("Quit", "key q", app.action_leave)


def _keys(app: IloraTui, screen: Screen[Any]) -> Iterable[SystemCommand]:
    """The screen's and its panes' own keys."""
    known: set[str] = set()
    for node in (*screen.focus_chain, screen):
        for binding in _own(node):
            allowed, what = _allowed(screen, node, binding), binding.tooltip or binding.description
            if not what or what in known or binding.action.startswith((*PLAIN, *BUILT_IN)) or not allowed:
                continue
            known.add(what)
            pane = getattr(node, "TITLE", None) or "here"
            shown = app.get_key_display(binding)
            run = partial(app.run_action, binding.action, node)
            yield SystemCommand(what[0].upper() + what[1:], f"key {shown} · {pane}", run)


def _own(node: DOMNode) -> Iterable[Binding]:
    """A node's bindings, each action once."""
    actions: dict[str, Binding] = {}
    for bindings in node._bindings.key_to_bindings.values():
        for binding in bindings:
            actions.setdefault(binding.action, binding)
    return actions.values()


def _allowed(screen: Screen[Any], node: DOMNode, binding: Binding) -> bool:
    """Whether the action does something now."""
    name = binding.action.partition("(")[0]
    asked = screen if name.startswith("screen.") else node
    return bool(asked.check_action(name.removeprefix("screen."), ()))
