"""A chat model's answers on disk: paid for, so each is there before the next question leaves."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.config.chat import ChatConfig
from core.config.checks import sha256_of
from core.errors import ResultError
from core.recommenders.chat_client import Reply, token_count
from core.safe_text import plain


class Answers:
    """Replies by prompt, in files that only ever grow: a line is written and synced before it counts.

    A run that was killed goes on from its last whole line. What failed is noted but not kept: it is asked
    again by the next run. Each process writes a file of its own and reads them all.

    Args:
        folder: where the files lie.
        config: the chat model; another one's answers are in other files.
        rank: number of this process.
    """

    def __init__(self, folder: Path, config: ChatConfig, rank: int = 0) -> None:
        kept = {"url": config.url, "model": config.model, "answer_tokens": config.answer_tokens}
        self.folder, self.stem = folder, sha256_of(kept)[:12]
        self.path = folder / f"{self.stem}.{rank}.jsonl"

    def load(self, prompts: Iterable[str]) -> dict[str, Reply]:
        """What is known of these prompts, failures included; an answer goes before a failure.

        Raises:
            ResultError: a file cannot be read.
        """
        wanted = {key_of(prompt): prompt for prompt in prompts}
        found: dict[str, Reply] = {}
        for key, reply in self._lines():
            prompt = wanted.get(key)
            if prompt is not None and (reply.text is not None or found.get(prompt, reply).text is None):
                found[prompt] = reply
        return found

    def _lines(self) -> Iterable[tuple[str, Reply]]:
        """All whole lines; one that a crash cut short is passed over."""
        try:
            files = sorted(self.folder.glob(f"{self.stem}.*.jsonl"))
            texts = [file.read_bytes().decode("utf-8", "replace") for file in files]
        except OSError as error:
            raise ResultError(
                f"cannot read {self.folder}: {error.strerror}", "check its permissions"
            ) from error
        for line in "".join(text + "\n" for text in texts).splitlines():
            try:
                record = json.loads(line)
                yield record.pop("case"), _kept(**record)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue

    def add(self, prompt: str, reply: Reply) -> None:
        """Writes a reply; it is on the disk when this returns.

        Raises:
            ResultError: the file cannot be written.
        """
        record: Mapping[str, Any] = {"case": key_of(prompt), **dataclasses.asdict(reply)}
        line = json.dumps(record).encode() + b"\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                if file.tell() and not _ends_a_line(file):
                    line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ResultError(
                f"cannot write {self.path}: {error.strerror}", "choose another folder with --out"
            ) from error


def _kept(**record: Any) -> Reply:
    """A reply as earlier versions may have written it, before its words and counts were cleaned."""
    reply = Reply(**record)
    texts = (reply.failure, reply.model) if reply.text is None else (reply.text, reply.failure, reply.model)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("an answer is text")
    return dataclasses.replace(
        reply,
        text=None if reply.text is None else plain(reply.text),
        failure=plain(reply.failure),
        model=plain(reply.model),
        prompt_tokens=token_count(reply.prompt_tokens),
        answer_tokens=token_count(reply.answer_tokens),
    )


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def key_of(prompt: str) -> str:
    """The name of a question: the same words are the same question."""
    return sha256_of(prompt)
