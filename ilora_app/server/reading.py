"""What comes in over HTTP: bodies of JSON within a limit, and how a request is refused."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from ilora_app.server.schema import LARGEST_BODY


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, title: str, hint: str = "") -> None:
        super().__init__(title)
        self.status, self.title, self.hint = status, title, hint


async def read_body(request: Request) -> bytes:
    """The body, which must be declared as JSON: no page of another origin can send that.

    Raises:
        Refused: it is too large, of another kind, or cut off.
    """
    content = b""
    try:
        async for piece in request.stream():
            content += piece
            if len(content) > LARGEST_BODY:
                raise Refused(413, f"more than {LARGEST_BODY >> 10} KiB", "send fewer items")
    except ClientDisconnect as error:  # nobody hears this answer, and nobody has to read of it
        raise Refused(400, "the body was never sent whole") from error
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip() != "application/json":
        raise Refused(415, "the body is not application/json", "set Content-Type: application/json")
    return content
