"""A chat server may answer, babble, refuse, be slow or fail: the table goes on, and nothing is paid twice."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.config.chat import ChatConfig
from core.errors import InputError, Interrupted
from core.events import never
from core.recommenders import chat_client
from core.recommenders.chat_answers import Answers
from core.recommenders.chat_client import ChatServer, Reply, check_ready, read_completion, seconds_of
from tests.chat_server import KEY, Script, completion, serving

Scripted = list[tuple[int, Any, dict[str, str]]]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between two tries are too short to notice."""
    monkeypatch.setattr(chat_client, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(chat_client, "GLANCE", 0.001)


@pytest.fixture
def asked(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Asks a server that gives these responses one after the other; the reply and what the server saw."""

    def ask(script: Scripted, known: bool = False, **settings: Any) -> tuple[Reply, Script]:
        with serving(lambda _, number: script[min(number, len(script) - 1)]) as seen:
            server = ChatServer(ChatConfig(seen.url, "tiny-chat", **settings), KEY, never)
            server._is_known = known
            return server.ask("Which?"), seen

    yield ask


def test_a_question_is_one_message_at_temperature_zero_with_the_key_in_one_header(asked: Any) -> None:
    reply, seen = asked([(200, completion("Fargo"), {})])
    assert reply == Reply("Fargo", "", "tiny-chat-1", 100, 5)
    assert seen.keys == [f"Bearer {KEY}"]
    assert seen.bodies == [
        {
            "model": "tiny-chat",
            "messages": [{"role": "user", "content": "Which?"}],
            "temperature": 0,
            "max_tokens": 256,
        }
    ]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_too_many_requests_and_server_errors_are_tried_again(asked: Any, status: int) -> None:
    reply, seen = asked([(status, "busy", {}), (200, completion("Fargo"), {})])
    assert reply.text == "Fargo"
    assert len(seen.bodies) == 2


@pytest.mark.parametrize("status", [429, 500])
def test_tries_have_an_end_and_then_the_answer_is_missing(asked: Any, status: int) -> None:
    reply, seen = asked([(status, "busy", {})], tries=3)
    assert reply == Reply(None, f"HTTP {status}")
    assert len(seen.bodies) == 3


@pytest.mark.parametrize("status", [400, 402, 422, 302])
def test_what_another_try_cannot_mend_is_not_tried_again(asked: Any, status: int) -> None:
    reply, seen = asked([(status, {"error": {"message": "no"}}, {})])
    assert reply == Reply(None, f"HTTP {status}")
    assert len(seen.bodies) == 1


def test_a_server_that_asks_to_wait_is_waited_for_but_not_for_ever(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(ChatServer, "_wait", lambda _, seconds: waits.append(seconds))
    asked([(429, "", {"Retry-After": "7"}), (503, "", {}), (200, completion("Fargo"), {})])
    assert waits == [7.0, 0.002]
    monkeypatch.undo()
    monkeypatch.setattr(chat_client, "LONGEST_WAIT", 0.01)
    reply, _ = asked([(429, "", {"Retry-After": "86400"}), (200, completion("Fargo"), {})])
    assert reply.text == "Fargo"
    assert [seconds_of(text) for text in ("7", " 3 ", "", "soon", "-1", "Fri, 31 Dec 1999 23:59:59 GMT")] == [
        7.0, 3.0, 0.0, 0.0, 0.0, 0.0,
    ]  # fmt: skip


def test_a_silent_server_times_out_and_is_tried_again() -> None:
    def answer(_: str, number: int) -> tuple[int, Any, dict[str, str]]:
        if number == 0:
            seen.patience.wait(5)
        return 200, completion("Fargo"), {}

    with serving(answer) as seen:
        server = ChatServer(ChatConfig(seen.url, "m", timeout=0.2), KEY, never)
        assert server.ask("Which?").text == "Fargo"
        assert len(seen.bodies) == 2


def test_a_server_that_stays_silent_leaves_no_answer() -> None:
    def answer(_: str, number: int) -> tuple[int, Any, dict[str, str]]:
        del number
        seen.patience.wait(5)
        return 200, completion("Fargo"), {}

    with serving(answer) as seen:
        server = ChatServer(ChatConfig(seen.url, "m", timeout=0.1, tries=2), KEY, never)
        assert server.ask("Which?") == Reply(None, "timed out")


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        ("not json", "no chat completion"),
        ("[1]", "no chat completion"),
        ('{"choices": []}', "no chat completion"),
        ('{"choices": [{"message": null}]}', "no chat completion"),
        (json.dumps(completion(None)), "empty answer"),
        (json.dumps(completion(" \n ")), "empty answer"),
        (json.dumps(completion(None, refusal="I will not")), "refused"),
    ],
)
def test_an_answer_that_is_none_is_empty_paid_for_and_not_asked_again(
    asked: Any, body: str, failure: str
) -> None:
    reply, seen = asked([(200, body, {})])
    assert (reply.text, reply.failure) == ("", failure)
    assert len(seen.bodies) == 1


def test_usage_that_is_no_count_is_not_known() -> None:
    record = completion("Fargo")
    for usage in (None, [], "many", {"prompt_tokens": "ten"}, {"prompt_tokens": -1}, {"prompt_tokens": True}):
        reply = read_completion(json.dumps({**record, "usage": usage}))
        assert (reply.text, reply.prompt_tokens, reply.answer_tokens) == ("Fargo", None, None)


def test_only_the_first_line_of_an_answer_counts() -> None:
    assert Reply("\n Fargo \nbecause they like snow").line == "Fargo"
    assert Reply(None).line == Reply("").line == ""


# --- bad input: the first request alone --------------------------------------------------------------------


@pytest.mark.parametrize(("status", "says"), [(401, "key is not"), (403, "may not"), (404, "no such model")])
def test_a_first_request_that_is_turned_away_is_bad_input(asked: Any, status: int, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        asked([(status, {"error": {"message": f"what is {KEY} and" + KEY * 40}}, {})])
    assert KEY not in caught.value.title
    assert "sk-a" not in caught.value.title
    assert "KEY" in caught.value.hint


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_later_one_is_a_missing_answer(asked: Any, status: int) -> None:
    reply, seen = asked([(status, "", {})], known=True)
    assert reply == Reply(None, f"HTTP {status}")
    assert len(seen.bodies) == 1


def test_an_address_where_nothing_listens_is_bad_input() -> None:
    with serving() as gone:
        pass
    with pytest.raises(InputError, match="nothing answers at"):
        ChatServer(ChatConfig(gone.url, "m", tries=2), KEY, never).ask("Which?")


def test_a_key_that_the_server_repeats_is_cleared_away(asked: Any) -> None:
    reply, _ = asked([(200, {**completion(f"your key is {KEY}"), "model": KEY}, {})])
    assert reply.text == "your key is [key]"
    assert KEY not in repr(reply)


def test_a_server_shows_no_key() -> None:
    assert KEY not in repr(ChatServer(ChatConfig("http://127.0.0.1:1/v1", "m"), KEY, never))


def test_a_stop_is_obeyed_while_waiting_for_another_try() -> None:
    with serving(lambda *_: (500, "", {"Retry-After": "50"})) as seen, pytest.raises(Interrupted):
        ChatServer(ChatConfig(seen.url, "m"), KEY, lambda: len(seen.bodies) > 0).ask("Which?")


@pytest.mark.parametrize("url", ["https://h/v1", "https://h/v1/", "https://h/v1/chat/completions"])
def test_an_address_may_be_the_servers_or_the_whole_one(url: str) -> None:
    server = ChatServer(ChatConfig(url, "m"), KEY, never)
    assert server.address == "https://h/v1/chat/completions"
    assert not server.is_in_clear
    assert ChatServer(ChatConfig("http://far.example/v1", "m"), KEY, never).is_in_clear


# --- what must be given ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "model", "key", "says"),
    [
        ("", "m", KEY, "needs an address"),
        ("http://h/v1", "", KEY, "name of a model"),
        ("http://h/v1", "m", "", "needs a key in ILORA_APP_CHAT_KEY"),
        ("http://h/v1", "m", "  ", "needs a key"),
        ("http://h/v1", "m", "two words", "holds no key that can be sent"),
        ("http://h/v1", "m", "ключ", "holds no key that can be sent"),
    ],
)
def test_address_model_and_key_must_all_be_there(
    monkeypatch: pytest.MonkeyPatch, url: str, model: str, key: str, says: str
) -> None:
    monkeypatch.setenv(chat_client.KEY_VARIABLE, key)
    with pytest.raises(InputError, match=says) as caught:
        check_ready(ChatConfig(url, model))
    assert caught.value.hint
    monkeypatch.setenv(chat_client.KEY_VARIABLE, KEY)
    check_ready(ChatConfig("http://h/v1", "m"))


@pytest.mark.parametrize(
    "url",
    ["h/v1", "ftp://h/v1", "http://", "http://[x", "https://me:secret@h/v1", "https://h/v1?key=secret", "h"],
)
def test_an_address_is_an_address_and_holds_no_secret(url: str) -> None:
    with pytest.raises(InputError) as caught:
        ChatConfig(url, "m")
    assert "secret" not in caught.value.title + caught.value.hint


# --- answers on disk ---------------------------------------------------------------------------------------

CONFIG = ChatConfig("http://h/v1", "m")


def test_answers_come_back_by_their_question_for_the_same_model_only(tmp_path: Path) -> None:
    answers = Answers(tmp_path, CONFIG)
    answers.add("one?", Reply("A", "", "m-1", 3, 1))
    answers.add("two?", Reply("B"))
    assert Answers(tmp_path, CONFIG).load(["two?", "one?", "three?"]) == {
        "one?": Reply("A", "", "m-1", 3, 1),
        "two?": Reply("B"),
    }
    priced = dataclasses.replace(CONFIG, price_in=2.0, timeout=3.0)
    assert len(Answers(tmp_path, priced).load(["one?"])) == 1
    for other in ({"model": "n"}, {"url": "http://g/v1"}, {"answer_tokens": 9}):
        assert not Answers(tmp_path, dataclasses.replace(CONFIG, **other)).load(["one?"])


def test_a_line_that_a_crash_cut_short_is_lost_alone(tmp_path: Path) -> None:
    answers = Answers(tmp_path, CONFIG)
    answers.add("one?", Reply("A"))
    answers.add("two?", Reply("B"))
    whole = answers.path.read_bytes()
    for cut in range(1, len(whole)):
        answers.path.write_bytes(whole[:cut])
        answers.add("three?", Reply("C"))
        found = answers.load(["one?", "two?", "three?"])
        assert found["three?"].text == "C"
        assert found.keys() - {"three?"} <= {"one?", "two?"}
        assert ("one?" in found) == (cut >= whole.index(b"\n"))


def test_an_answer_goes_before_a_failure_whichever_came_first(tmp_path: Path) -> None:
    answers = Answers(tmp_path, CONFIG)
    for prompt, replies in {
        "one?": [Reply(None, "timed out"), Reply("A")],
        "two?": [Reply("A"), Reply(None, "timed out")],
        "three?": [Reply(None, "timed out"), Reply(None, "HTTP 500")],
    }.items():
        for reply in replies:
            answers.add(prompt, reply)
    found = answers.load(["one?", "two?", "three?"])
    assert [found[prompt].text for prompt in ("one?", "two?", "three?")] == ["A", "A", None]
    assert found["three?"].failure == "HTTP 500"


def test_processes_write_apart_and_read_all(tmp_path: Path) -> None:
    Answers(tmp_path, CONFIG, 0).add("one?", Reply("A"))
    Answers(tmp_path, CONFIG, 1).add("two?", Reply("B"))
    assert len(list(tmp_path.iterdir())) == 2
    assert len(Answers(tmp_path, CONFIG, 2).load(["one?", "two?"])) == 2


# --- servers that mean harm --------------------------------------------------------------------------------


def test_a_body_that_does_not_end_is_left_after_a_few_megabytes(asked: Any) -> None:
    reply, seen = asked([(200, "x" * (chat_client.LARGEST_BODY + 10), {})])
    assert reply.text is None and "MiB" in reply.failure
    assert len(seen.bodies) == 1


def test_a_packed_body_is_counted_unpacked(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_client, "LARGEST_BODY", 50)
    bomb = gzip.compress(b"x" * 100_000).decode("latin-1")
    reply, _ = asked([(200, bomb, {"Content-Encoding": "gzip"})])
    assert reply.text is None and reply.failure.startswith("more than")


@pytest.mark.parametrize("packing", ["br", "zstd", "br, gzip", "x-unheard-of"])
def test_a_body_that_is_packed_as_nobody_asked_is_no_answer(asked: Any, packing: str) -> None:
    reply, seen = asked([(200, "(\xb5/\xfd\x04\x00" + "\xff" * 1000, {"Content-Encoding": packing})])
    assert (reply.text, reply.failure) == ("", "no chat completion")
    assert len(seen.bodies) == 1


def self_signed(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate that nobody but its owner vouches for, and what a server needs to show it."""
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


def test_a_certificate_that_nobody_trusts_is_named_and_its_owner_can_trust_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, context = self_signed(tmp_path)
    with serving(lambda *_: (200, completion("Fargo"), {}), context) as seen:
        config = ChatConfig(seen.url, "tiny-chat")
        with pytest.raises(InputError, match="certificate") as caught:
            ChatServer(config, KEY, never).ask("Which?")
        assert "SSL_CERT_FILE" in caught.value.hint
        assert not seen.bodies  # neither the question nor the key was sent
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ChatServer(config, KEY, never).ask("Which?").text == "Fargo"


def test_a_server_that_trickles_is_left_in_time() -> None:
    def answer(_: str, number: int) -> tuple[int, Any, dict[str, str]]:
        del number
        return 200, Trickle(seen.patience), {}

    with serving(answer) as seen:
        server = ChatServer(ChatConfig(seen.url, "m", timeout=0.5, tries=1), KEY, never)
        began = time.monotonic()
        assert server.ask("Which?") == Reply(None, "timed out")
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("count", [10**4000, -1, True, "5", 1.5, 2**70])
def test_a_count_of_tokens_that_is_none_is_left_out(count: Any) -> None:
    body = {**completion("Fargo"), "usage": {"prompt_tokens": 7, "completion_tokens": 5}}
    text = json.dumps(body).replace("7", "9" * 4000 if count == 10**4000 else json.dumps(count))
    assert read_completion(text).prompt_tokens is None


def test_an_answer_is_cleaned_before_it_is_kept_and_one_kept_earlier_when_it_is_read(
    asked: Any, tmp_path: Path
) -> None:
    reply, _ = asked([(200, completion("Far\ud800go\x1b[31m"), {})])
    assert reply.text == "Far\ufffdgo\ufffd[31m"
    config = ChatConfig("http://localhost/v1", "m")
    answers = Answers(tmp_path, config)
    answers.add("Which?", Reply("a\ud800", "", "m\x1b", 10**30, 5))
    found = answers.load(["Which?"])["Which?"]
    assert found == Reply("a\ufffd", "", "m\ufffd", None, 5)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_sees_what_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(lambda *_: (200, completion("Fargo"), {})) as seen:
        url = seen.url.replace("127.0.0.1", host)
        assert ChatServer(ChatConfig(url, "m"), KEY, never).ask("Which?").text == "Fargo"


class Trickle(str):
    """A body that comes a byte at a time until the test is over."""

    def __new__(cls, patience: Any) -> Trickle:
        made = super().__new__(cls, "x" * 1000)
        made.patience = patience
        return made

    patience: Any
