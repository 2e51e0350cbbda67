"""What happens outside the screen, as Textual messages: the engine spoke, complained, ended."""

from __future__ import annotations

from textual.message import Message

from core.events import Event, Fetching, StepLogged
from core.serving.protocol import Ranked

_PASSING = (Ranked, StepLogged, Fetching)
"""Of these only the newest matters."""


class EngineSaid(Message):
    """The engine said something."""

    def __init__(self, engine: str, event: Event) -> None:
        super().__init__()
        self.engine, self.event = engine, event

    def can_replace(self, message: Message) -> bool:
        """Whether a later message may stand for this one, so that passing events never flood the queue."""
        return (
            isinstance(message, EngineSaid)
            and self.engine == message.engine
            and type(self.event) is type(message.event)
            and isinstance(self.event, _PASSING)
            and getattr(message.event, "request", 0) >= getattr(self.event, "request", 0)
        )


class EngineComplained(Message):
    """The engine wrote a line to its stderr."""

    def __init__(self, engine: str, line: str) -> None:
        super().__init__()
        self.engine, self.line = engine, line


class EngineMumbled(Message):
    """The engine wrote a line that is no event."""

    def __init__(self, engine: str, line: str) -> None:
        super().__init__()
        self.engine, self.line = engine, line


class EngineDied(Message):
    """The engine ended without being asked to."""

    def __init__(self, engine: str, code: int | None, last_words: str) -> None:
        super().__init__()
        self.engine, self.code, self.last_words = engine, code, last_words
