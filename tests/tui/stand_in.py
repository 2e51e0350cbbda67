"""An engine without a model: answers requests with made-up events, in this process or as a child.

As a child, `python -m tests.tui.stand_in FLAWS…` speaks the same JSON lines as the real one. Flaws: `odd`
says a line that is no event before each ranking, `dies` ends in the middle of a ranking's line, `deaf`
ignores being asked to end, `slow` takes a second for each ranking.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

from textual.message import Message

from core.events import Event, Fetching
from core.ilora.experts import one_sidedness
from core.serving.protocol import (
    BENCHMARK,
    Curves,
    CurvesListed,
    Differed,
    Differences,
    EncoderReady,
    Estimate,
    Estimated,
    Explained,
    Fetch,
    Fetched,
    GatesListed,
    ItemsListed,
    Open,
    Opened,
    Question,
    Rank,
    Ranked,
    Request,
    Survey,
    Surveyed,
    UsersListed,
    WarmedUp,
    Why,
)
from ilora_app.tui.engine.messages import EngineSaid
from ilora_app.tui.state.explore_state import mean_of, pushed_rows

EXPERTS = 4
GENRES = ("Comedy", "Horror", "Western", "Drama")
FILMS = 60
USERS = 30
TITLES = [f"{genre} of {place}" for place in range(FILMS // 4) for genre in GENRES]
TITLES[3] = "東京の長い長い夜と朝"
TITLES[7] = "A Very Long Title That Goes On And On Until Nobody Remembers How It Began (Director's Cut)"
ILORA, LORA = (
    "runs/models/made-up.paper.ilora.seed0.aaaaaaaa",
    "runs/models/made-up.paper.lora.seed0.bbbbbbbb",
)


DEMO = "the/program/demo"


def life(user: int) -> list[int]:
    """What a user watched: mostly one genre."""
    return [(user * 4 + place * (4 if place % 3 else 7)) % FILMS for place in range(8 + user % 7)]


def gate(history: list[int]) -> list[float]:
    """More weight to the expert of the history's genres."""
    raw = [math.exp(2 * sum(item % 4 == expert for item in history) / len(history)) for expert in range(4)]
    return [value / sum(raw) for value in raw]


def asset(kind: str, name: str, cached: bool) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "title": f"The {name} {kind}",
        "cached": cached,
        "bytes": 4_924_029,
        "licence": "GroupLens research licence",
        "terms": "Research use only.",
        "source": "https://example.org",
    }


def run(method: str, path: str) -> dict[str, Any]:
    return {
        "path": path,
        "dataset": "made-up",
        "split": "paper",
        "method": method,
        "seed": 0,
        "created": "2026-01-02T03:04:05+00:00",
        "samples_sha256": "5a" * 32,
        "metrics": {"spread": {"HR@1": 0.45}},
        "demo": False,
        "model": "made-up-135M",
    }


def method_of(path: str | None, method: str = "ilora") -> str:
    """Whose run a path is; without a run SASRec answers."""
    return "lora" if path == LORA else method if path else "sasrec"


def answers(
    request: Request,
    runs: bool = True,
    cached: bool = True,
    method: str = "ilora",
    gated: bool = True,
    layers: int = 0,
    demo: bool = False,
    encoder: str = "sasrec",
    opened_method: str = "ilora",
) -> list[Event]:
    """What an engine says to a request."""
    number = request.request
    match request:
        case Survey():
            found = [run("ilora", ILORA), run("lora", LORA)] if runs else []
            found = [{**run("ilora", DEMO), "demo": True}] if demo else found
            assets = [asset("dataset", "made-up", cached), asset("model", "small", cached)]
            return [Surveyed(number, assets, found, [])]
        case Fetch():
            return [Fetching("made-up", "example.org", 2_000_000, 4_924_029), Fetched(number)]
        case Open():
            return opened(number, request.run, method_of(request.run, method))
        case Rank():
            return [
                ranked(
                    number,
                    request.asked(),
                    gated,
                    0.0 if gated else 0.04,
                    layers,
                    opened_method,
                    encoder,
                )
            ]
        case Why():
            history = request.asked().history
            changes = [0.4 - 0.15 * place for place in range(len(history))]
            return [Explained(number, request.item, history, list(changes), 90.0)]
        case Differences():
            users = [
                {
                    "user": str(user),
                    "position": len(life(user)) - 1,
                    "rank": 1 + user % 5,
                    "other": 12 - user % 3,
                }
                for user in range(1, 9)
            ]
            return [Differed(number, request.run, request.other, "spread", users, 7, 1, 0)]
        case Curves():
            return [CurvesListed(number, [{"run": path, "points": learnt(path)} for path in request.runs])]
        case Estimate():
            found_here = Estimated(
                number, request.preset, 12.5, 1_620_000_000, "estimated", "2 cores", {"last": 28}
            )
            return [found_here]
    raise AssertionError(request)


def learnt(path: str) -> list[dict[str, float]]:
    """A curve that rises, each run's to another height; its loss falls."""
    height = 0.6 if path == ILORA else 0.5
    return [
        {"step": 10 * at, "loss": 3.0 / at, "HR@1": height * (1 - 0.5**at), "MRR": 0.7 * (1 - 0.5**at)}
        for at in range(1, 9)
    ]


def opened(number: int, path: str | None, method: str) -> list[Event]:
    """The pieces of an opened run."""
    gated = method == "ilora"
    users = [
        {
            "user": str(user),
            "part": "test" if user % 3 == 0 else "train",
            "items": life(user),
            "times": [880_000_000 + 86_400 * place for place in range(len(life(user)))],
        }
        for user in range(1, USERS + 1)
    ]
    profiles = [
        {"words": f"{genre} · {1970 + 10 * at}s", "mean": 0.25, "traits": [], "n": USERS}
        for at, genre in enumerate(GENRES)
    ]
    names = [str(record["user"]) for record in users]
    sides = one_sidedness([gate(life(user)[:-1][-10:]) for user in range(1, USERS + 1)]) if gated else []
    half = FILMS // 2
    years = [str(1950 + place) for place in range(FILMS)]
    tags = [[GENRES[place % 4]] for place in range(FILMS)]
    return [
        Opened(
            number, path, method, "made-up", "Made up", "paper", 0, "made-up-135M",
            EXPERTS if gated else 0, 3, 10, FILMS, USERS, {"spread": {"HR@1": 0.45}}, 1.0,
        ),
        ItemsListed(number, 0, TITLES[:half], years[:half], tags[:half]),
        ItemsListed(number, half, TITLES[half:], years[half:], tags[half:]),
        UsersListed(number, 0, users),
        GatesListed(number, names, sides, profiles if gated else []),
        WarmedUp(number, 1.5),
    ]  # fmt: skip


def by_layer(weights: list[float], layers: int) -> list[list[float]] | None:
    """One gate per layer, whose mean is `weights`: every other layer leans to the other side."""
    lean = [0.04 * (1 if expert % 2 else -1) for expert in range(EXPERTS)]
    rows = [
        [weight + (shift if layer % 2 else -shift) for weight, shift in zip(weights, lean, strict=True)]
        for layer in range(layers)
    ]
    return rows or None


def ranked(
    number: int,
    asked: Question,
    gated: bool = True,
    twist: float = 0,
    layers: int = 0,
    method: str = "ilora",
    encoder: str = "sasrec",
) -> Ranked:
    """A ranking that depends on the history and the weights, so that every edit shows."""
    target = None
    if asked.user is not None and asked.position is not None:
        target = life(int(asked.user))[asked.position]
    free = [item for item in range(FILMS) if item not in asked.history]
    count = min(asked.retrieve, 40) if asked.source != BENCHMARK else 20
    candidates = asked.candidates or free[:count]
    if target is not None and target not in candidates and asked.source == BENCHMARK:
        candidates = [target, *candidates[1:]]
    natural = gate(asked.history)
    rows = by_layer(natural, layers)
    used = pushed_rows(rows or [natural], asked.push or (), asked.lock)
    omega = mean_of(used)
    pull = sum(asked.history) + 3 * len(asked.history)

    def score(item: int) -> float:
        return 3 * omega[item % 4] + math.sin(item * (1.7 + twist) + pull * 0.3)

    items = sorted(candidates, key=score, reverse=True)
    other = sorted(candidates)
    return Ranked(
        request=number,
        method=method,
        encoder=encoder,
        user=asked.user,
        position=asked.position,
        source=asked.source,
        history=asked.history,
        target=target,
        gate=natural if gated else None,
        omega=omega if gated else None,
        items=items,
        scores=[score(item) for item in items],
        encoder_scores=[-float(item) for item in items],
        ranks={
            encoder: [other.index(item) + 1 for item in items],
            "popularity": [len(items) - other.index(item) for item in items],
            method: list(range(1, len(items) + 1)),
        },
        target_place=33 if asked.source != BENCHMARK else None,
        milliseconds=84.0,
        gate_by_layer=rows if gated else None,
        omega_by_layer=used if gated and rows else None,
    )


class StandIn:
    """An engine in this process. Every answer is written as a line and read again, as a child's would be.

    `held` keeps requests of some kinds unanswered until `release`.
    """

    options: ClassVar[dict[str, Any]] = {}
    early: ClassVar[bool] = False
    """Whether the encoder answers until `load` is called, as while a language model is loaded."""

    def __init__(self, name: str, post: Callable[[Message], Any]) -> None:
        self.name, self.post = name, post
        self.alive, self.pid = False, None
        self.asked: list[Request] = []
        self.held: tuple[type[Request], ...] = ()
        self.waiting: list[Request] = []
        self.gated = True
        self.opened_method = self.loaded_method = "ilora"
        self.loading: list[Event] = []

    async def start(self) -> None:
        self.alive = True

    async def stop(self) -> None:
        self.alive = False

    def ask(self, kind: type[Request], **fields: Any) -> int:
        request = Request.from_json(kind(request=len(self.asked) + 1, **fields).to_json())
        self.asked.append(request)
        if isinstance(request, self.held):
            self.waiting.append(request)
        elif self.alive:
            self.answer(request)
        return request.request

    def answer(self, request: Request) -> None:
        if isinstance(request, Open):
            self.gated = request.run not in (None, LORA)
            self.opened_method = method_of(request.run, self.options.get("method", "ilora"))
        waits = self.early and isinstance(request, Open) and request.early
        if waits:
            self.gated, self.loaded_method, self.opened_method = False, self.opened_method, "sasrec"
        named = {"gated": self.gated, "opened_method": self.opened_method}
        for event in answers(request, **named, **self.options):
            if waits and isinstance(event, GatesListed | WarmedUp):
                self.loading.append(event)
            else:
                self.say(event.to_json())
        if waits:
            self.say(EncoderReady(request.request, "sasrec", 0.5).to_json())

    def load(self) -> None:
        """The language model is loaded."""
        self.gated, self.opened_method = True, self.loaded_method
        for event in self.loading:
            self.say(event.to_json())

    def say(self, line: str) -> None:
        self.post(EngineSaid(self.name, Event.from_json(line)))

    def release(self) -> None:
        waiting, self.waiting, self.held = self.waiting, [], ()
        for request in waiting:
            self.answer(request)


def with_options(**options: Any) -> type[StandIn]:
    """A stand-in on another machine: `runs`, `cached`, `method`, `demo`, `encoder`."""
    return type("StandIn", (StandIn,), {"options": options})


def main(flaws: list[str]) -> None:
    """The child."""
    if "deaf" in flaws:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("a library says hello", file=sys.stderr, flush=True)
    for line in sys.stdin:
        request = Request.from_json(line)
        if isinstance(request, Rank):
            if "odd" in flaws:
                print("Segmentation imminent {", flush=True)
            if "slow" in flaws:
                time.sleep(1)
            if "dies" in flaws:
                sys.stdout.write('{"event": "Ranked", "requ')
                sys.stdout.flush()
                print("RuntimeError: out of luck", file=sys.stderr, flush=True)
                os._exit(9)
        for event in answers(request):
            print(event.to_json(), flush=True)
    while "deaf" in flaws:
        time.sleep(1)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1:])
