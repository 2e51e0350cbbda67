"""Records what a screen asks the real engine and hears from it, and plays it again without a model.

`python -m tests.tui.record [OPTION=VALUE …]` trains the tiny model, drives the screen with `KEYS` and writes
`recorded/explore.jsonl`: each request, then the event lines that answered it. Options change the gate's
config and are part of the file's name, such as `scope=per-layer`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.message import Message

from core.events import Event
from core.serving.protocol import Request
from ilora_app.tui.engine.messages import EngineSaid

FOLDER = Path(__file__).parent / "recorded"
KEYS = ("down", "tab", "d", "greater_than_sign", "r", "tab", "down", "l", "r", "tab", "w", "c")
"""Another user; drop, move, reset; lock an expert, reset; why; the whole catalogue."""


class InProcess:
    """The real engine in this process, its lines written down."""

    def __init__(self, name: str, post: Callable[[Message], Any]) -> None:
        from core.serving.server import WarmEngine

        self.name, self.post, self.alive, self.pid = name, post, False, None
        self.lines: list[str] = []
        self.number = 0
        self.engine = WarmEngine(self._emit)

    async def start(self) -> None:
        self.alive = True

    async def stop(self) -> None:
        self.alive = False

    def ask(self, kind: type[Request], **fields: Any) -> int:
        self.number += 1
        request = kind(request=self.number, **fields)
        self.lines.append(request.to_json())
        if self.alive:
            self.engine.answer(request)
        return self.number

    def _emit(self, event: Event) -> None:
        self.lines.append(event.to_json())
        self.post(EngineSaid(self.name, Event.from_json(event.to_json())))


class Recorded:
    """Answers each request with the lines that once answered it: of the same kind, in the order they came."""

    file = FOLDER / "explore.jsonl"

    def __init__(self, name: str, post: Callable[[Message], Any]) -> None:
        self.name, self.post, self.alive, self.pid = name, post, False, None
        self.asked: list[Request] = []
        self._waiting: list[tuple[dict[str, Any], list[str]]] = []
        for line in self.file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if "ask" in record:
                self._waiting.append((record, []))
            else:
                self._waiting[-1][1].append(line)

    async def start(self) -> None:
        self.alive = True

    async def stop(self) -> None:
        self.alive = False

    def ask(self, kind: type[Request], **fields: Any) -> int:
        request = kind(request=len(self.asked) + 1, **fields)
        self.asked.append(request)
        place = next((at for at, (asked, _) in enumerate(self._waiting) if asked["ask"] == kind.__name__), -1)
        if not self.alive or place < 0:
            return request.request
        asked, answers = self._waiting.pop(place)
        assert asked.get("question") == fields.get("question"), (asked, fields)
        for line in answers:
            record = {**json.loads(line)}
            if "request" in record:
                record["request"] = request.request
            self.post(EngineSaid(self.name, Event.from_json(json.dumps(record))))
        return request.request


async def _drive(out: Path) -> list[str]:
    from ilora_app.tui.app import IloraTui
    from tests.tui.conftest import settle

    app = IloraTui(out, "tiny", make_engine=InProcess)  # type: ignore[arg-type]
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        for key in KEYS:
            await pilot.press(key)
            await settle(pilot)
        return app.app_state.main.lines  # type: ignore[attr-defined, no-any-return]


def main(options: list[str]) -> None:
    """Trains, drives, writes."""
    import torch

    from core.config.presets import with_overrides
    from core.config.settings import RunConfig
    from core.recommenders.registry import method_class
    from core.runs.store import run_folder, save_run
    from tests import made_up, tiny

    chosen = dict(option.split("=", 1) for option in options)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ |= tiny.install(place / "home", place / "mirror")
        model = tiny.save_model(place / "tiny-llama")
        config: RunConfig = with_overrides(tiny.config(model), adapter={"layers": 4}, gate=dict(chosen))
        recommender = method_class("ilora")()
        task = tiny.task(config, place / "work")
        recommender.fit(task)
        os.chdir(place)
        path = run_folder(Path("runs"), "tiny", "paper", "ilora", 0, "a" * 64)
        path.parent.mkdir(parents=True)
        torch.manual_seed(0)
        with torch.no_grad():  # a tiny model learns nothing in a few steps; so that every edit shows
            for part, parameter in recommender.model.parameters().items():
                if not part.startswith("gate."):
                    parameter.add_(0.5 * torch.randn(parameter.shape))
        save_run(recommender, task, path, made_up.result())
        lines = asyncio.run(_drive(Path("runs")))
    suffix = "".join(f".{value}" for value in chosen.values())
    text = "\n".join(lines).replace(f"{name}/", "")
    (FOLDER / f"explore{suffix}.jsonl").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
