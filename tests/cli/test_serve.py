"""`ilora-app serve` over real HTTP: answers, limits, a full queue, and who may reach it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import psutil
import pytest

from core.recommenders.registry import method_class
from core.serving.batcher import Batcher
from core.serving.session import Session
from ilora_app.cli import main
from ilora_app.cli.serve import LOOPBACK
from ilora_app.server.schema import LARGEST_BODY, LONGEST_HISTORY, MOST_CANDIDATES
from tests import tiny
from tests.ilora.test_model import adapted, stirred


@dataclass
class Running:
    """A server in a thread."""

    address: str
    session: Session
    batcher: Batcher

    def post(self, record: Any, **more: Any) -> httpx2.Response:
        return httpx2.post(f"{self.address}/recommend", json=record, timeout=30, **more)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An iLoRA that was never trained, behind a queue of four, on a free port."""
    pytest.importorskip("starlette", reason="comes with the test extras")
    uvicorn = pytest.importorskip("uvicorn", reason="comes with the test extras")
    from ilora_app.server.app import make_app

    place = tmp_path_factory.mktemp("serve")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in tiny.install(place / "home", place / "mirror").items():
            patch.setenv(name, value)
        model = stirred(adapted())
        model.train(False)
        recommender: Any = method_class("ilora")()
        recommender.model, recommender.batch = model, 2
        session = Session(*tiny.load(tiny.config()), recommender, model.encoder)
        batcher = Batcher(session, size=4, waiting=4)
        server = uvicorn.Server(
            uvicorn.Config(make_app(batcher, LOOPBACK), log_level="error", lifespan="off")
        )
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", session, batcher)
        server.should_exit = True
        thread.join(10)
        batcher.close()
        listening.close()


def test_ids_and_titles_are_ranked_with_the_gates_weights(running: Running) -> None:
    catalogue = running.session.dataset.catalogue
    by_id = running.post({"history": [catalogue.ids[3], int(catalogue.ids[4])], "top": 5})
    assert by_id.status_code == 200
    found = by_id.json()
    assert [row["rank"] for row in found["items"]] == [1, 2, 3, 4, 5]
    assert [row["title"] for row in found["history"]] == [catalogue.titles[3], catalogue.titles[4]]
    assert not {row["id"] for row in found["items"]} & {catalogue.ids[3], catalogue.ids[4]}
    assert sum(found["omega"]) == pytest.approx(1, abs=1e-5)
    assert len(found["experts"]) == len(found["omega"]) == 4
    by_title = running.post({"history": [catalogue.titles[3], catalogue.titles[4]], "top": 5}).json()
    assert by_title["items"] == found["items"]


def test_given_candidates_are_ranked_and_explained(running: Running) -> None:
    ids = running.session.dataset.catalogue.ids
    asked = {"history": list(ids[:3]), "candidates": list(ids[5:9]), "explain": True}
    found = running.post(asked).json()
    assert {row["id"] for row in found["items"]} == set(ids[5:9])
    assert [row["id"] for row in found["why"]] == list(ids[:3])


def test_unknown_items_of_a_history_are_named_in_the_answer(running: Running) -> None:
    ids = running.session.dataset.catalogue.ids
    found = running.post({"history": [ids[0], "nothing like it"]}).json()
    assert found["unknown"] == ["nothing like it"]


@pytest.mark.parametrize(
    ("record", "status"),
    [
        ([], 422),
        ({}, 422),
        ({"history": []}, 422),
        ({"history": "3"}, 422),
        ({"history": [True]}, 422),
        ({"history": ["nothing like it"]}, 422),
        ({"history": ["1"], "candidates": ["1"]}, 422),
        ({"history": ["1"], "candidates": ["1", "nothing"]}, 422),
        ({"history": ["1"], "candidates": ["2"] * (MOST_CANDIDATES + 1)}, 422),
        ({"history": ["1"] * (LONGEST_HISTORY + 1)}, 422),
        ({"history": ["1"], "top": 0}, 422),
        ({"history": ["1"], "top": True}, 422),
        ({"history": ["1"], "explain": 1}, 422),
        ({"history": ["1"], "user": "3"}, 422),
        ({"history": ["x" * LARGEST_BODY]}, 413),
        ({"history": [str(item) for item in range(1, tiny.ITEMS + 1)]}, 422),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_cannot_be_used_is_an_error_in_json(running: Running, record: Any, status: int) -> None:
    answer = running.post(record)
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"history": ["\\ud800"]}', b'{"history": ["1"], "candidates": ["2", "\\udfff"]}', b'{"\\ud800": 1}',
        b'{"history": [%s]}' % (b"9" * 4000), b'{"history": [%s]}' % (b"9" * 5000), b"[" * 20_000,
        b'{"history": ["1"], "top": 1e400}', b'{"history": ["1"], "top": NaN}', b"\xff\xfe",
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)  # fmt: skip
def test_bodies_that_no_answer_could_repeat_are_refused(running: Running, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx2.post(f"{running.address}/recommend", content=body, headers=headers, timeout=30)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]


def test_only_json_under_the_machines_own_name_is_read(running: Running) -> None:
    address = f"{running.address}/recommend"
    assert httpx2.post(address, content=b'{"history": ["1"]}').status_code == 415
    headers = {"Content-Type": "application/json"}
    assert httpx2.post(address, content=b"{", headers=headers).status_code == 400
    assert running.post({"history": ["1"]}, headers={"Host": "evil.example"}).status_code == 400
    assert httpx2.get(address).status_code == 405


def test_health_metrics_items_and_the_description(running: Running) -> None:
    health = httpx2.get(f"{running.address}/health").json()
    assert (health["status"], health["method"], health["items"]) == ("ok", "ilora", tiny.ITEMS)
    assert len(httpx2.get(f"{running.address}/items").json()) == tiny.ITEMS
    described = httpx2.get(f"{running.address}/openapi.json").json()
    assert set(described["paths"]) == {"/recommend", "/health", "/items", "/metrics", "/openapi.json"}
    before = counted(running)
    assert running.post({"history": ["1"]}).status_code == 200
    assert counted(running) == before + 1
    lines = httpx2.get(f"{running.address}/metrics").text.splitlines()
    (memory,) = [line for line in lines if line.startswith("process_resident_memory_bytes ")]
    own = psutil.Process().memory_info().rss  # the server is a thread of this process
    assert float(memory.split()[1]) == pytest.approx(own, rel=0.1)


def counted(running: Running) -> int:
    lines = httpx2.get(f"{running.address}/metrics").text.splitlines()
    (last,) = [line for line in lines if line.startswith('ilora_request_seconds_bucket{le="+Inf"}')]
    (count,) = [line for line in lines if line.startswith("ilora_request_seconds_count")]
    assert last.split()[1] == count.split()[1]
    return int(count.split()[1])


def test_sixty_four_clients_lose_nothing_and_the_memory_stays_flat(running: Running) -> None:
    """Each asks again after a 503, as it is told to; every answer belongs to its own question."""
    ids = running.session.dataset.catalogue.ids
    each = 6
    refused = 0

    async def client(number: int, connection: httpx2.AsyncClient) -> int:
        nonlocal refused
        answered = 0
        own = [ids[(number + step) % len(ids)] for step in range(1 + number % 5)]
        while answered < each:
            reply = await connection.post(
                f"{running.address}/recommend", json={"history": own, "candidates": list(ids[:4])}
            )
            if reply.status_code == 503:
                refused += 1
                assert reply.headers["retry-after"] == "1"
                await asyncio.sleep(0.02)
                continue
            assert reply.status_code == 200, reply.text
            assert [row["id"] for row in reply.json()["history"]] == own
            answered += 1
        return answered

    async def everybody() -> list[int]:
        limits = httpx2.Limits(max_connections=64)
        async with httpx2.AsyncClient(timeout=60, limits=limits) as connection:
            return await asyncio.gather(*(client(number, connection) for number in range(64)))

    forwards, asked = running.batcher.forwards, running.batcher.asked
    assert asyncio.run(everybody()) == [each] * 64
    settled = psutil.Process().memory_info().rss
    assert asyncio.run(everybody()) == [each] * 64
    assert psutil.Process().memory_info().rss - settled < 32 << 20
    assert running.batcher.asked - asked == 2 * 64 * each
    assert (running.batcher.asked - asked) / (running.batcher.forwards - forwards) > 2
    assert refused  # four may wait, and 64 ask


@pytest.mark.parametrize("wrong", [("--port", "70000"), ("--batch", "0"), ("--waiting", "0")], ids=" ".join)
def test_numbers_that_cannot_be_used_are_one_line(
    capsys: pytest.CaptureFixture[str], wrong: tuple[str, ...]
) -> None:
    pytest.importorskip("uvicorn", reason="comes with the test extras")
    assert ended("demo", *wrong) == 2
    assert "hint: " in capsys.readouterr().err


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("uvicorn", reason="comes with the test extras")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        started = time.monotonic()
        assert ended("demo", "--port", str(other.getsockname()[1])) == 2
    said = capsys.readouterr().err
    assert "cannot listen on 127.0.0.1" in said
    assert "--port" in said
    assert time.monotonic() - started < 10


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(["serve", *arguments])
    return int(done.value.code or 0)
