"""A training elsewhere, followed by what it writes: its events and its stderr. No widgets here."""

from __future__ import annotations

from ilora_app.tui.engine.trainings import Log, Tail, TrainingProcess
from ilora_app.tui.state.journal import Journal
from ilora_app.tui.state.progress import Progress


class Following:
    """Reads a training's log as it grows.

    Args:
        journal: gets what is said, if anything.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self.training: TrainingProcess | None = None
        self.progress = Progress()
        self.stopped = False
        """Whether somebody here asked it to stop."""
        self._log: Log | None = None
        self._errors: Tail | None = None
        self._journal, self._told, self._first = journal, 0, True

    def begin(self, training: TrainingProcess) -> None:
        """Follows a training from its first line."""
        self.training, self._log, self._errors = training, Log(training.log), Tail(training.errors)
        self.progress, self.stopped, self._told, self._first = Progress(), False, 0, True

    @property
    def running(self) -> bool:
        """Whether there is a training, and it runs."""
        return self.training is not None and self.training.running

    def read(self) -> bool:
        """Takes what was written since; says whether that was anything."""
        if self.training is None or self._log is None or self._errors is None:
            return False
        running = self.training.running  # asked first: what it wrote last is there when it is gone
        events = self._log.read()
        for event in events:
            self.progress.take(event)
        for line in self._log.odd:
            self.progress.say(f"odd line: {line}")
        self._log.odd.clear()
        if not running and not events and not self.progress.ending:
            self._end()
        self._tell(self._errors.read())
        return bool(events)

    def _end(self) -> None:
        assert self.training is not None
        words = self.training.last_words
        if self.stopped or words in ("KeyboardInterrupt", "stopped"):
            self.progress.ending = "stopped before it learnt anything; c starts it again"
            self.progress.say(self.progress.ending)
        else:
            self.progress.ending = "it ended without a word"
            self.progress.say(words or self.progress.ending)

    def _tell(self, complaints: list[str]) -> None:
        """Passes on what was said; the time of what was written before anybody read it is not known."""
        said, self._told = self.progress.count - self._told, self.progress.count
        if self._journal is not None:
            for line in self.progress.said[-said:] if said else []:
                self._journal.add("training", line, timed=not self._first)
            for line in complaints:
                self._journal.add("training", line, quiet=True, timed=not self._first)
        self._first = False
