"""How much the API takes on at once: more callers, slower ones or larger bodies do not stop it.

Requests are read whole before any work is done for them, so that a slow caller keeps nobody else
waiting. A few are worked at together, others wait for a moment, and whoever is too many is told
to come back.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

AT_WORK = 8
"""Requests that are worked at together: fewer than the connections to the state store."""

INSIDE = 256
"""Requests that are read, wait and are worked at together."""

PATIENCE = 10.0
"""Seconds in which a request has to come whole, and seconds that it waits for its turn."""

RETRY_AFTER = 1
"""Seconds after which one that was sent away may come back."""

LARGEST_BODY = 64 * 1024


class Limits:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._inside = 0
        self._turns = asyncio.Semaphore(AT_WORK)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or self._inside >= INSIDE:
            await _too_many(scope, receive, send)
            return
        self._inside += 1
        try:
            await self._admitted(scope, receive, send)
        finally:
            self._inside -= 1

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                body = await _body(receive)
        except TimeoutError:
            late = answer(408, f"the request did not come within {PATIENCE:g} s")
            await late(scope, receive, send)
            return
        if body is None:
            return
        if len(body) > LARGEST_BODY:
            too_large = answer(413, f"the body is larger than {LARGEST_BODY // 1024} KiB")
            await too_large(scope, receive, send)
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await self._turns.acquire()
        except TimeoutError:
            await _too_many(scope, receive, send)
            return
        await self._worked_at(scope, _again(body, receive), send)

    async def _worked_at(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Its turn is over once it is answered, however slowly the answer is read."""
        turn = contextlib.ExitStack()
        turn.callback(self._turns.release)

        async def sending(message: Message) -> None:
            turn.close()
            await send(message)

        with turn:
            await self._app(scope, receive, sending)


async def _body(receive: Receive) -> bytes | None:
    """The body as far as it is looked at; None when the caller has gone."""
    body = b""
    while len(body) <= LARGEST_BODY:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """The request's messages once more, now that it was read."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


async def _too_many(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(503, "too many requests at once", "send it again a little later")(
        scope, receive, send
    )


def answer(code: int, error: str, hint: str | None = None) -> JSONResponse:
    """An error as the API tells it; one that may pass says when to come back."""
    headers = {"Retry-After": str(RETRY_AFTER)} if code in (429, 503) else None
    content: dict[str, Any] = {"error": " ".join(error.split()), "hint": hint}
    return JSONResponse(content, code, headers)


class ImpatientProtocol(H11Protocol):
    """HTTP that gives a connection up when the head of a request does not come whole in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request may come."""
        super().connection_made(transport)
        self._expect()

    def on_response_complete(self) -> None:
        """The next one may."""
        super().on_response_complete()
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """None will."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def _expect(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(PATIENCE, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
