"""The child process: it answers by number, is ended quickly, and its death or babble is told, not fatal."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from textual.message import Message

from core.serving.protocol import Open, Rank, Ranked, Survey, Surveyed, WarmedUp
from ilora_app.tui.app import IloraTui
from ilora_app.tui.engine.client import COMMAND, Engine
from ilora_app.tui.engine.messages import EngineComplained, EngineDied, EngineMumbled, EngineSaid
from ilora_app.tui.engine.process_priority import stand_back
from tests.tui.stand_in import ILORA

QUESTION = {"history": [1, 2, 3], "user": "1", "position": 3}


class Heard(list[Message]):
    """Messages, with a way to wait for one."""

    async def until(self, wanted: Callable[[Message], bool], seconds: float = 10) -> Message:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for message in self:
                if wanted(message):
                    return message
            await asyncio.sleep(0.01)
        raise AssertionError(f"not heard among {[type(message).__name__ for message in self]}")

    async def event(self, kind: type, number: int | None = None) -> EngineSaid:
        def wanted(message: Message) -> bool:
            return (
                isinstance(message, EngineSaid)
                and isinstance(message.event, kind)
                and number in (None, getattr(message.event, "request", None))
            )

        found = await self.until(wanted)
        assert isinstance(found, EngineSaid)
        return found


async def test_a_child_that_was_started_ahead_is_taken_once_and_ended_like_any_other() -> None:
    command = [sys.executable, "-m", "tests.tui.stand_in"]
    pipe = subprocess.PIPE
    ahead = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, bufsize=0)
    heard = Heard()
    engine = Engine("main", heard.append, command, ahead)
    await engine.start()
    assert engine.pid == ahead.pid
    await heard.event(Surveyed, engine.ask(Survey, out="runs"))
    await heard.until(lambda message: isinstance(message, EngineComplained))
    await engine.stop()
    assert ahead.poll() is not None
    await engine.start()
    assert engine.pid != ahead.pid
    await heard.event(Surveyed, engine.ask(Survey, out="runs"))
    await engine.stop()


async def test_the_death_of_a_child_that_was_started_ahead_is_told() -> None:
    command = [sys.executable, "-m", "tests.tui.stand_in", "dies"]
    pipe = subprocess.PIPE
    ahead = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, bufsize=0)
    heard = Heard()
    engine = Engine("main", heard.append, command, ahead)
    await engine.start()
    engine.ask(Rank, question=QUESTION)
    died = await heard.until(lambda message: isinstance(message, EngineDied))
    assert isinstance(died, EngineDied)
    assert died.code == 9
    assert "out of luck" in died.last_words
    await engine.stop()


@asynccontextmanager
async def child(*flaws: str) -> AsyncIterator[tuple[Engine, Heard]]:
    heard = Heard()
    command = [sys.executable, "-m", "tests.tui.stand_in", *flaws]
    engine = Engine("main", heard.append, command)
    await engine.start()
    try:
        yield engine, heard
    finally:
        await engine.stop()


async def test_answers_carry_the_requests_number() -> None:
    async with child() as (engine, heard):
        survey = engine.ask(Survey, out="runs")
        opening = engine.ask(Open, out="runs", run=ILORA)
        ranking = engine.ask(Rank, question=QUESTION)
        await heard.event(Surveyed, survey)
        await heard.event(WarmedUp, opening)
        said = await heard.event(Ranked, ranking)
        assert isinstance(said.event, Ranked)
        assert said.event.history == [1, 2, 3]


async def test_a_child_that_dies_in_the_middle_of_an_answer_is_told_with_its_last_words() -> None:
    async with child("dies") as (engine, heard):
        engine.ask(Rank, question=QUESTION)
        died = await heard.until(lambda message: isinstance(message, EngineDied))
        assert isinstance(died, EngineDied)
        assert died.code == 9
        assert "out of luck" in died.last_words
        assert not engine.alive
        engine.ask(Rank, question=QUESTION)  # nobody is there, and nothing breaks
        await engine.start()
        survey = engine.ask(Survey, out="runs")
        await heard.event(Surveyed, survey)


async def test_a_line_that_is_no_event_is_told_and_the_next_one_counts() -> None:
    async with child("odd") as (engine, heard):
        number = engine.ask(Rank, question=QUESTION)
        mumbled = await heard.until(lambda message: isinstance(message, EngineMumbled))
        assert isinstance(mumbled, EngineMumbled)
        assert mumbled.line == "Segmentation imminent {"
        await heard.event(Ranked, number)


@pytest.mark.parametrize("flaw", ["slow", "deaf"])
async def test_it_is_gone_within_two_seconds_also_when_busy_or_deaf(flaw: str) -> None:
    async with child(flaw) as (engine, heard):
        survey = engine.ask(Survey, out="runs")
        await heard.event(Surveyed, survey)
        for _ in range(3):
            engine.ask(Rank, question=QUESTION)
        pid = engine.pid
        assert pid is not None
        started = time.monotonic()
        await engine.stop()
        assert time.monotonic() - started < 2
        assert not psutil.pid_exists(pid)
        assert not any(isinstance(message, EngineDied) for message in heard)


def test_a_child_stands_back_with_its_whole_session() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        stand_back(child.pid, 7)
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == 7
        group = Path(f"/proc/{child.pid}/autogroup")
        if group.exists() and group.read_text().strip():  # where sessions share out the processors
            assert group.read_text().split()[-1] == "7"
        stand_back(2**22 + 1, 7)  # nobody: no error
    finally:
        child.kill()
        child.wait()


def test_engines_open_runs_in_the_precision_that_the_screens_were_given() -> None:
    for given, expected in (({}, "auto"), ({"precision": "float32"}, "float32")):
        app_state = IloraTui(**given).app_state
        for engine in (app_state.main, app_state.beside):
            assert engine._command == (*COMMAND, "--precision", expected)
