"""How the engine fails: every foreseeable failure has a title, and a hint that says what to do next."""

from __future__ import annotations


class IloraError(Exception):
    """A failure the user can act on; shown as `error: title` and `hint: hint`, never as a traceback.

    Args:
        title: what is wrong, one line, naming the thing (file, option, value).
        hint: the next step, one line.
    """

    exit_code = 2

    def __init__(self, title: str, hint: str = "") -> None:
        super().__init__(title)
        self.title = title
        self.hint = hint


class InputError(IloraError):
    """An option, name or value that cannot be used."""


class DataError(IloraError):
    """A dataset card or a data file that breaks its contract."""


class AssetError(IloraError):
    """A dataset or model that could not be fetched, or whose checksum is wrong."""


class ModelError(IloraError):
    """A language model that cannot be loaded or run here."""


class ResultError(IloraError):
    """A result file or run folder that cannot be read or compared."""


class TrainingError(IloraError):
    """Training that cannot go on, such as a loss that is not a number."""


class Interrupted(Exception):
    """Raised after a requested stop, once everything worth keeping is on disk; exit code 130."""

    exit_code = 130
