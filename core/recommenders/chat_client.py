"""Asks a chat model behind an OpenAI-compatible address.

The key comes from the environment alone and goes into one header; whatever a server says is cleared of it
before anybody sees it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import os
import queue
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from core.config.chat import ChatConfig
from core.errors import InputError, Interrupted
from core.events import ShouldStop
from core.safe_text import plain

if TYPE_CHECKING:
    import httpx2

URL_VARIABLE = "ILORA_APP_CHAT_URL"
KEY_VARIABLE = "ILORA_APP_CHAT_KEY"
FIRST_WAIT = 1.0
"""Seconds before a request is tried again; every further wait is twice as long."""
LONGEST_WAIT = 60.0
"""Seconds, also where a server asks for more."""
GLANCE = 0.1
"""Seconds between two looks at whether to stop, while waiting."""
TOKEN_CHARACTERS = 4
"""Characters of a prompt that are taken for a token where only an estimate is needed."""
REFUSALS = {401: "the key is not accepted", 403: "the key may not do this", 404: "no such model or address"}
"""What is bad input when it answers the first request."""


def check_ready(config: ChatConfig) -> None:
    """Raises `InputError` unless address, model and key are there."""
    if not config.url:
        raise InputError(
            "the method chat needs an address, and none was given",
            f"give --chat-url such as https://host/v1, or set {URL_VARIABLE}",
        )
    if not config.model:
        raise InputError("the method chat needs the name of a model", "give --chat-model NAME")
    read_key()


def read_key() -> str:
    """The key from the environment.

    Raises:
        InputError: there is none, or it is none that can be sent.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise InputError(
            f"the method chat needs a key in {KEY_VARIABLE}, and there is none",
            "set it in the environment; a server of your own that wants none takes any",
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(f"{KEY_VARIABLE} holds no key that can be sent", "letters, digits and marks only")
    return key


@dataclass(frozen=True)
class Reply:
    """What came of one question."""

    text: str | None
    """The answer as it came, empty where the model said nothing; None where none came."""
    failure: str = ""
    """Why no answer came, or why it is no text."""
    model: str = ""
    """What the server calls the model that answered."""
    prompt_tokens: int | None = None
    """As the server counted; None where it did not say."""
    answer_tokens: int | None = None

    @property
    def line(self) -> str:
        """The answer's first line: what counts, as for every model that writes its answer."""
        return (self.text or "").strip().split("\n")[0].strip()


# --- the server --------------------------------------------------------------------------------------------


@dataclass
class ChatServer:
    """A connection to the server; `ask` never fails for what a server may do, but for a bad first request."""

    config: ChatConfig
    key: str = field(repr=False)
    should_stop: ShouldStop
    client: httpx2.Client = field(init=False, repr=False)
    _is_known: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        import httpx2

        self.client = httpx2.Client(
            timeout=self.config.timeout,
            headers={"Authorization": f"Bearer {self.key}", "Accept-Encoding": "identity"},
            trust_env=not self.is_here,  # no proxy is to see what stays on this machine
            verify=ssl.create_default_context(),  # the system's certificates, and those of SSL_CERT_FILE
        )

    @property
    def address(self) -> str:
        """Where questions go."""
        base = self.config.url.rstrip("/")
        return base if base.endswith("/chat/completions") else f"{base}/chat/completions"

    @property
    def is_in_clear(self) -> bool:
        """Whether key and questions leave this machine unencrypted."""
        parts = urlsplit(self.config.url)
        return parts.scheme == "http" and not self.is_here

    @property
    def is_here(self) -> bool:
        """Whether the server is this machine."""
        host = (urlsplit(self.config.url).hostname or "").rstrip(".")
        with contextlib.suppress(ValueError):  # a name, no address
            return ipaddress.ip_address(host).is_loopback
        return host == "localhost" or host.endswith(".localhost")

    def ask(self, prompt: str) -> Reply:
        """The answer to one prompt, asked at most `tries` times.

        Raises:
            InputError: the very first request shows that key, model or address are wrong.
            Interrupted: `should_stop` said so while waiting.
        """
        reply, again = self._once(prompt)
        for attempt in range(1, self.config.tries):
            if again is None:
                break
            self._wait(max(again, FIRST_WAIT * 2 ** (attempt - 1)))
            reply, again = self._once(prompt)
        if reply.failure == UNREACHABLE and not self._is_known:
            raise InputError(f"nothing answers at {self.config.url}", "is the server running? see --chat-url")
        self._is_known = True
        return reply

    def _once(self, prompt: str) -> tuple[Reply, float | None]:
        """What one request gave, and the least seconds to wait before another; None where it is of no use."""
        import httpx2

        body = {
            "model": self.config.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": self.config.answer_tokens,
        }
        try:
            status, headers, text = self._within_time(lambda: self._fetch(body))
        except (httpx2.TimeoutException, TimeoutError):
            self._is_known = True  # somebody is there, only slow
            return Reply(None, "timed out"), 0.0
        except httpx2.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise InputError(
                    f"the certificate of {self.config.url} is not one that this machine trusts",
                    "set SSL_CERT_FILE to the server's own certificate, or use a server with a signed one",
                ) from error
            return Reply(None, UNREACHABLE), 0.0
        except _TooLarge:
            self._is_known = True
            return Reply(None, f"more than {LARGEST_BODY >> 20} MiB"), None
        except httpx2.HTTPError as error:
            return Reply(None, type(error).__name__), 0.0
        return self._read(status, headers, text)

    def _within_time(self, fetch: Callable[[], _Response]) -> _Response:
        """What `fetch` gives, within the timeout however slowly a server trickles; then it is left alone."""
        done: queue.SimpleQueue[_Response | BaseException] = queue.SimpleQueue()

        def work() -> None:
            try:
                done.put(fetch())
            except BaseException as error:
                done.put(error)

        threading.Thread(target=work, name="chat", daemon=True).start()
        until = time.monotonic() + self.config.timeout + GLANCE
        while (left := until - time.monotonic()) > 0:
            if self.should_stop():
                raise Interrupted
            with contextlib.suppress(queue.Empty):
                found = done.get(timeout=min(GLANCE, left))
                if isinstance(found, BaseException):
                    raise found
                return found
        raise TimeoutError

    def _fetch(self, body: Mapping[str, Any]) -> _Response:
        """Status, headers and text of one response; its body is unpacked and counted as it comes."""
        until, content = time.monotonic() + self.config.timeout, b""
        with self.client.stream("POST", self.address, json=body) as response:
            packed = response.headers.get("content-encoding", "identity").lower() != "identity"
            unpack = zlib.decompressobj(wbits=47) if packed else None
            for chunk in response.iter_raw(1 << 16):
                try:
                    content += unpack.decompress(chunk, LARGEST_BODY + 1) if unpack else chunk
                except zlib.error:
                    return response.status_code, response.headers, ""  # packed in a way nobody asked for
                if len(content) > LARGEST_BODY:
                    raise _TooLarge
                if time.monotonic() > until:
                    raise TimeoutError
            return response.status_code, response.headers, content.decode("utf-8", "replace")

    def _read(self, status: int, headers: Mapping[str, str], body: str) -> tuple[Reply, float | None]:
        if status in REFUSALS and not self._is_known:
            said = shortened(self._cleared(error_text(body)))
            why = f"HTTP {status}: {said}" if said else f"HTTP {status}"
            raise InputError(
                f"{self.config.model} at {self.config.url}: {REFUSALS[status]} ({why})",
                f"check {KEY_VARIABLE}, --chat-model and --chat-url",
            )
        self._is_known = True
        if status != 200:
            asked_to_wait = seconds_of(headers.get("retry-after", ""))
            again = asked_to_wait if status == 429 or status >= 500 else None
            return Reply(None, f"HTTP {status}"), again
        reply = read_completion(body)
        text, model = self._cleared(reply.text or ""), self._cleared(reply.model)
        return dataclasses.replace(reply, text=text, model=model), None

    def _cleared(self, text: str) -> str:
        """A server's words without the key, should they repeat it, and without what acts on a terminal."""
        return plain(text.replace(self.key, "[key]"))

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + min(seconds, LONGEST_WAIT)
        while (left := until - time.monotonic()) > 0:
            if self.should_stop():
                raise Interrupted
            time.sleep(min(GLANCE, left))


UNREACHABLE = "no connection"
LARGEST_BODY = 1 << 23
"""Bytes of the longest response, unpacked: a hundred times the longest answer that can be asked for."""
MOST_TOKENS = 10**9
"""A count beyond it is none."""
_Response = tuple[int, Mapping[str, str], str]


class _TooLarge(Exception):
    """The server sends more than any answer has."""


def seconds_of(text: str) -> float:
    """A `Retry-After` in seconds; 0 for a date or nonsense, where the usual wait must do."""
    plain_digits = text.strip().isascii() and text.strip().isdecimal() and len(text) < 10
    return float(text) if plain_digits else 0.0


def error_text(body: str) -> str:
    """What a server says about an error; empty where it is silent."""
    try:
        error = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def shortened(text: str) -> str:
    """One line of at most 160 characters; the key is cleared away before, or half of it might stay."""
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:159]}…"


def read_completion(body: str) -> Reply:
    """The answer in a server's response; whatever is wrong with it, it may have to be paid for."""
    try:
        record = json.loads(body)
        choice = record["choices"][0]["message"]
        content, refusal = choice.get("content"), choice.get("refusal")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return Reply("", "no chat completion")
    usage = record.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    if not isinstance(content, str) or not content.strip():
        content, failure = "", "refused" if refusal else "empty answer"
    else:
        failure = ""
    model = record.get("model")
    return Reply(
        content,
        failure,
        model if isinstance(model, str) else "",
        token_count(usage.get("prompt_tokens")),
        token_count(usage.get("completion_tokens")),
    )


def token_count(value: Any) -> int | None:
    """A stated number of tokens; None where it is no number that can be one."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value <= MOST_TOKENS else None


# --- what it costs -----------------------------------------------------------------------------------------


def estimated_tokens(texts: Iterable[str]) -> int:
    """Tokens of these texts, at `TOKEN_CHARACTERS` characters each."""
    return sum(-(-len(text) // TOKEN_CHARACTERS) for text in texts)


def cost(config: ChatConfig, prompt_tokens: int, answer_tokens: int) -> float:
    """What so many tokens cost, in the currency of the prices."""
    return (config.price_in * prompt_tokens + config.price_out * answer_tokens) / 1e6


def prices(config: ChatConfig) -> str:
    """The prices in words."""
    return f"at {config.price_in:g} and {config.price_out:g} per million tokens of prompt and answer"


def usage(replies: Iterable[Reply], total: Callable[[Reply], int | None]) -> tuple[int, int]:
    """The sum of what the server reported, and for how many replies it did."""
    known = [value for reply in replies if (value := total(reply)) is not None]
    return sum(known), len(known)
