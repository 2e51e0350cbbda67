"""What somebody prefers, in `tui.toml` in the program's folder: theme, vim's letters, keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from core.assets.spec import home
from core.config.checks import check_choice
from core.errors import DataError, InputError
from core.records import build, read_text, toml_of

THEMES = {"dark": "ilora-dark", "light": "ilora-light", "contrast": "ilora-contrast"}
"""Theme as it is typed -> its name in the program."""
WITHOUT_VIM = {
    "list.up": "up",
    "list.down": "down",
    "list.first": "home",
    "list.last": "end",
    "experts.up": "up",
    "experts.down": "down",
    "experts.less": "left",
}
"""Keys that have a letter beside an arrow, without the letter."""


@dataclass(frozen=True)
class Preferences:
    """The settings file; what it leaves out is as here."""

    theme: str = "dark"
    vim: bool = True
    """Whether j, k, g, G and h move beside the arrows."""
    keys: dict[str, str] = field(default_factory=dict)
    """Name of a key as docs/keys.md lists it -> the keys to press instead, separated by commas."""

    def __post_init__(self) -> None:
        check_choice(self.theme, tuple(THEMES), "theme")

    @property
    def keymap(self) -> dict[str, str]:
        """Name -> keys, for all that differ."""
        return {**({} if self.vim else WITHOUT_VIM), **self.keys}


def path() -> Path:
    """Where the settings file lies."""
    return home() / "tui.toml"


def load() -> Preferences:
    """The preferences; without a file the program's own.

    Raises:
        InputError: the file is no TOML, or has a setting, a value or a key's name that there is not.
    """
    if not path().is_file():
        return Preferences()
    try:
        found = build(Preferences, toml_of(read_text(path()), "tui.toml"), "tui.toml")
    except (DataError, InputError) as error:
        raise InputError(f"{path()}: {error.title}", error.hint or "theme, vim and keys are known") from error
    if found.keys:
        _check_keys(found.keys)
    return found


def _check_keys(keys: dict[str, str]) -> None:
    """Raises `InputError` unless all names are known, and no key has two meanings in one place."""
    from ilora_app.tui.bindings import names  # the whole interface is imported

    known = names()
    taken: dict[tuple[str, str], str] = {}
    for name, pressed in {**known, **keys}.items():
        if name not in known:
            near = get_close_matches(name, known, 3) or ["history.drop", "app.theme"]
            raise InputError(f"{path()}: no key is called {name[:60]}", f"such as {', '.join(near)}")
        for key in pressed.split(","):
            place = name.partition(".")[0], key.strip()
            if not key.strip():
                raise InputError(f"{path()}: {name} has no key", 'such as "x" or "ctrl+x"')
            if place in taken and name in keys | {taken[place]: ""}:
                raise InputError(f"{path()}: {key} is {taken[place]} and {name}", "give each its own key")
            taken[place] = name
