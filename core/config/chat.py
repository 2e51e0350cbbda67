"""Settings of a chat model that another machine serves."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from core.config.bounds import bounded, check_bounds
from core.config.checks import check
from core.errors import InputError


@dataclass(frozen=True)
class ChatConfig:
    """The chat model of the method `chat`, behind an OpenAI-compatible address; the key is no setting."""

    url: str = ""
    """Such as https://host/v1; there is no default, so that nothing is sent anywhere unasked."""
    model: str = ""
    """What the server calls the model."""
    price_in: float = bounded(0.0, 0, 10**6, "the price of a million prompt tokens")
    """Price of a million prompt tokens; with both prices zero no cost is stated."""
    price_out: float = bounded(0.0, 0, 10**6, "the price of a million answered tokens")
    """Price of a million answered tokens."""
    answer_tokens: int = bounded(256, 1, 10**6, "the longest answer in tokens")
    """At most this many tokens in an answer."""
    timeout: float = bounded(60.0, 0, 3600, "the chat model's timeout", open=True)
    """Seconds to wait for a sign of the server."""
    tries: int = bounded(4, 1, 100, "requests for one case")
    """Requests for one case at most: too many requests, server errors and silence are tried again."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.url:
            _check_address(self.url)

    @property
    def is_priced(self) -> bool:
        """Whether costs can be stated."""
        return self.price_in > 0 or self.price_out > 0


def _check_address(url: str) -> None:
    """Raises `InputError` unless this is a plain web address, which may be written down and shown."""
    hint = "give an address such as https://host/v1; the key goes into the environment"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InputError("the chat model's address is malformed", hint) from None
    check(
        parts.scheme in ("http", "https") and bool(host), "the chat model's address is no web address", hint
    )
    check(
        not (parts.username or parts.password or parts.query or parts.fragment),
        "the chat model's address holds more than an address",
        hint,
    )
