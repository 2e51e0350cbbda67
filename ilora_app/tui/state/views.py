"""A view that is kept: whose history with which edits, as JSON, and as the command that gives it again."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from core.assets.spec import home
from core.errors import DataError, InputError
from core.files import atomic_write
from core.records import build, json_of, read_text
from core.serving.protocol import BENCHMARK, CATALOGUE, RETRIEVED, SOURCES
from ilora_app.tui.state.explore_state import COUNTS, Edit, Edits, ExploreState

FORMAT = 1
NAME = r"[\w][\w .-]{0,59}"
"""What a view may be called: a file of that name must be possible everywhere."""


@dataclass(frozen=True)
class View:
    """A question with all its edits, as it can be opened again on the same dataset."""

    format: int
    dataset: str
    run: str | None
    """The run folder that answered."""
    user: str | None
    """None for a taste of one's own."""
    position: int | None
    history: list[int]
    """Rows of the catalogue, oldest first."""
    titles: list[str]
    """Their titles, by which another version of the dataset is noticed."""
    source: str = BENCHMARK
    retrieve: int = RETRIEVED
    push: list[float] | None = None
    lock: int | None = None

    def __post_init__(self) -> None:
        if self.format != FORMAT or self.source not in SOURCES or self.retrieve not in COUNTS:
            raise DataError("it was written by another version of this program", "save it again")
        if len(self.titles) != len(self.history) or not self.history:
            raise DataError("a history without titles, or none", "save it again")


def view_of(explored: ExploreState) -> View | None:
    """What is on screen; None where nothing is asked yet."""
    opened = explored.run_data.opened
    if opened is None or not explored.history:
        return None
    return View(
        format=FORMAT,
        dataset=opened.dataset,
        run=opened.run,
        user=explored.user.user if explored.user else None,
        position=explored.position,
        history=explored.history,
        titles=[explored.run_data.title(item) for item in explored.history],
        source=explored.source,
        retrieve=explored.retrieve,
        push=list(explored.edit.push) or None,
        lock=explored.edit.lock,
    )


def show(view: View, explored: ExploreState) -> str:
    """Puts a view on screen; says what is wrong where it does not fit, and changes nothing then."""
    run_data = explored.run_data
    if run_data.opened is None or run_data.opened.dataset != view.dataset:
        return f"it is about {view.dataset}: open a run of that dataset first"
    if [run_data.title(item) for item in view.history] != view.titles:
        return "the catalogue is another one than when it was saved"
    user = run_data.user(view.user) if view.user is not None else None
    if view.user is not None and user is None:
        return f"there is no user {view.user}"
    if user is not None:
        explored.choose(user, view.position)
    else:
        explored.start_own()
    source = CATALOGUE if user is None and view.source == BENCHMARK else view.source
    explored.source, explored.retrieve = source, view.retrieve
    edit = Edit(tuple(view.history), tuple(view.push or ()), view.lock)
    explored.edits = Edits(edit, [explored.edit] if edit != explored.edit else [])
    return ""


def command_of(view: View) -> str:
    """The command that prints this ranking again."""
    words = ["ilora-app", "recommend"]
    words += ["--run", view.run] if view.run else []
    words += ["--user", view.user, "--position", str(view.position)] if view.user else []
    words += ["--history", ",".join(map(str, view.history))]
    words += ["--from", view.source, "--candidates", str(view.retrieve)] if view.source != BENCHMARK else []
    words += ["--push=" + ",".join(f"{by:g}" for by in view.push)] if view.push else []
    words += ["--lock", str(view.lock + 1)] if view.lock is not None else []
    return shlex.join(words)


# --- on disk ---------------------------------------------------------------------------------------------


def folder() -> Path:
    """Where views lie that were kept by name."""
    return home() / "views"


def wrong_name(name: str) -> str:
    """What is wrong with a name; nothing where it can be used."""
    return "" if re.fullmatch(NAME, name) else "letters, digits, spaces, . _ - and at most 60 of them"


def keep(view: View, name: str) -> Path:
    """Writes a view whole; one of the same name is replaced.

    Raises:
        OSError: the folder cannot be written.
    """
    text = json.dumps(asdict(view), indent=1, ensure_ascii=False) + "\n"
    return atomic_write(folder() / f"{name}.json", text)


def kept() -> list[str]:
    """Names of the views that were kept, in their order."""
    return sorted(path.stem for path in folder().glob("*.json") if not path.name.startswith("."))


def read(name: str) -> View:
    """The view in a file, or the one that was kept under a name.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = Path(name)
    if not path.is_file():
        path = folder() / f"{name}.json"
    if wrong_name(path.stem) or not path.is_file():
        known = ", ".join(kept()) or "none yet; W on Explore keeps one"
        raise InputError(f"no view {name[:80]}, neither as a file nor by name", f"kept: {known}")
    try:
        return build(View, json_of(read_text(path), path.name), "view")
    except DataError as error:
        raise InputError(f"{path.name} is no view: {error.title}", error.hint) from error
