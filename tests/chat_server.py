"""A chat server on this machine that answers as a test wrote down, and remembers what it was asked."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-a-very-secret-key"


@dataclass
class Script:
    """What the server does and what it saw."""

    answer: Callable[[str, int], tuple[int, Any, dict[str, str]]]
    """Prompt and number of the request (from 0) -> status, body (text or JSON), headers."""
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    patience: threading.Event = field(default_factory=threading.Event)
    """Set when the test is over: whoever sleeps may wake up."""

    @property
    def prompts(self) -> list[str]:
        """What was asked, in order."""
        return [body["messages"][0]["content"] for body in self.bodies]


def completion(text: str | None, **more: Any) -> dict[str, Any]:
    """A chat completion with this answer, 100 prompt and 5 answer tokens."""
    return {
        "model": "tiny-chat-1",
        "choices": [{"message": {"role": "assistant", "content": text, **more}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 5},
    }


def first_candidate(prompt: str) -> str:
    """The first title of the list in the question of the made-up dataset."""
    return prompt.split("Of ")[1].split("\n")[0].strip()


def obedient(prompt: str, number: int) -> tuple[int, Any, dict[str, str]]:
    """Answers with the first candidate."""
    del number
    return 200, completion(first_candidate(prompt)), {}


@contextmanager
def serving(
    answer: Callable[[str, int], tuple[int, Any, dict[str, str]]] = obedient,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Script]:
    """A server that runs while the block does, with TLS where it is given a certificate."""
    script = Script(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = len(script.bodies)
            script.bodies.append(body)
            script.keys.append(self.headers.get("Authorization", ""))
            status, said, headers = script.answer(body["messages"][0]["content"], number)
            text = said if isinstance(said, str) else json.dumps(said)
            content = text.encode("latin-1" if "Content-Encoding" in headers else "utf-8")
            patience = getattr(said, "patience", None)
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for place in range(len(content) if patience else 0):
                    self.wfile.write(content[place : place + 1])
                    patience.wait(0.05)
                self.wfile.write(b"" if patience else content)
            except OSError:
                return  # the asker did not wait

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    script.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        script.patience.set()
        server.shutdown()
        server.server_close()
        thread.join()
