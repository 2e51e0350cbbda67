"""The log pane: engines and training, stderr too, one source or all; a GPU's use where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from core.events import Notice
from core.serving.protocol import WarmedUp
from ilora_app.tui.engine import gpu
from ilora_app.tui.engine.messages import EngineComplained
from ilora_app.tui.engine.trainings import Tail, TrainingProcess
from ilora_app.tui.screens.train import TrainScreen
from ilora_app.tui.state.following import Following
from ilora_app.tui.state.journal import Journal
from ilora_app.tui.widgets.log_pane import LogPane
from tests.tui.conftest import Drive, settle, text_of


async def test_the_log_holds_what_the_engines_said_and_follows_the_newest(drive: Drive) -> None:
    async with drive() as (app, pilot):
        app.post_message(EngineComplained("main", "UserWarning: a library says hello"))
        await pilot.press("3")
        await settle(pilot)
        pane = app.screen.query_one(LogPane)
        assert any("library says hello" in entry.text for entry in pane.entries)
        assert {"engine", "second engine"} <= {entry.source for entry in pane.entries}
        for at in range(30):
            app.app_state.journal.add("training", f"line {at}")
        pane.show(app.app_state.journal)
        await settle(pilot)
        assert pane.cursor == len(pane.entries) - 1
        for _ in range(40):  # until the pane has scrolled
            if pane.entries[-1].text[:7] in text_of(app):
                break
            await pilot.pause(0.05)
        assert pane.entries[-1].text[:7] in text_of(app)
        pane.focus()
        await pilot.press("home")
        app.app_state.journal.add("training", "line 30")
        pane.show(app.app_state.journal)
        await settle(pilot)
        assert pane.cursor == 0  # who reads an older line is not moved away from it
        await pilot.press("e")
        await settle(pilot)
        assert "Log · training" in text_of(app)
        assert {entry.source for entry in pane.entries} == {"training"}


async def test_a_long_line_is_shown_whole(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("3")
        await settle(pilot)
        app.app_state.journal.add("engine", "word " * 60 + "[end]")
        pane = app.screen.query_one(LogPane)
        pane.show(app.app_state.journal)
        pane.focus()
        await pilot.press("end", "enter")
        await settle(pilot)
        assert any("[end]" in note.message for note in app._notifications)


def test_the_journal_says_events_in_words_and_keeps_no_control_characters() -> None:
    journal = Journal()
    journal.hear("engine", WarmedUp(1, 3.0))
    journal.hear("engine", Notice("be careful", "warning"))
    journal.add("engine", "red \x1b[31mink\nand more")
    journal.add("engine", "  ")
    journal.add("engine", "    raise Error")
    texts = [entry.text for entry in journal.of("")]
    assert texts[:2] == ["ready after 3.0 s", "warning: be careful"]
    assert "\x1b" not in texts[2]
    assert "\n" not in texts[2]
    assert texts[3:] == ["    raise Error"]  # as a traceback is indented
    assert journal.of("training") == []


def test_stderr_is_read_line_by_line_the_last_state_of_a_redrawn_one(tmp_path: Path) -> None:
    file = tmp_path / "a.err"
    tail = Tail(str(file))
    assert tail.read() == []
    file.write_bytes(b"10 %\r50 %\r100 %\nnot whole")
    assert tail.read() == ["100 %"]
    with file.open("ab") as more:
        more.write(b" yet\n")
    assert tail.read() == ["not whole yet"]


def test_what_was_written_before_anybody_read_it_has_no_time(tmp_path: Path) -> None:
    log, errors = tmp_path / "a.jsonl", tmp_path / "a.err"
    log.write_text(Notice("early").to_json() + "\n")
    errors.write_text("UserWarning: early\n")
    me = psutil.Process(os.getpid())
    journal = Journal()
    following = Following(journal)
    assert not following.read()
    following.begin(TrainingProcess(me.pid, me.create_time(), [], str(log), str(errors)))
    assert following.read()
    with log.open("a") as file:
        file.write(Notice("late").to_json() + "\n")
    assert following.read()
    assert [(entry.text, bool(entry.clock)) for entry in journal.of("training")] == [
        ("early", False),
        ("UserWarning: early", False),
        ("late", True),
    ]


async def test_a_pane_takes_the_whole_screen_and_gives_it_back(drive: Drive) -> None:
    async with drive(size=(80, 24)) as (app, pilot):
        await pilot.press("3")
        await settle(pilot)
        pane = app.screen.query_one(LogPane)
        before = pane.size.height
        pane.focus()
        await pilot.press("z")
        await settle(pilot)
        assert pane.size.height > before
        assert pane.size.width > 70
        assert "[3 Train]" in text_of(app)
        await pilot.press("z")
        await settle(pilot)
        assert pane.size.height == before


# --- the graphics processor ------------------------------------------------------------------------------


def fake_driver(folder: Path, body: str) -> None:
    program = folder / gpu.COMMAND
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


async def test_a_gpu_tells_its_use_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_driver(tmp_path, "echo '87, 12000, 81559'; echo '[N/A], 100, 200'")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpu.is_there()
    assert await gpu.use() == ["87 % · 12.6 GB of 85.5 GB", "105 MB of 210 MB"]


@pytest.mark.parametrize("body", ["echo 'No devices were found'; exit 6", "exit 9", "echo nonsense"])
async def test_a_driver_without_a_gpu_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    fake_driver(tmp_path, body)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert await gpu.use() == []


async def test_without_a_driver_nothing_is_asked_and_nothing_shown(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "COMMAND", "no-such-driver-program")
    assert not gpu.is_there()
    assert await gpu.use() == []
    async with drive() as (app, pilot):
        await pilot.press("3")
        await settle(pilot)
        screen = app.screen
        assert isinstance(screen, TrainScreen)
        assert "gpu" not in dict(screen.progress.facts(0, screen.gpu))
        assert dict(screen.progress.facts(0, "87 %"))["gpu"] == "87 %"
