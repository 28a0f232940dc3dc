"""What a caller is told who is one too many, too slow or too large; nobody else waits for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flows.console import limits
from flows.console.limits import AT_WORK, INSIDE, LARGEST_BODY, Limits

Message = dict[str, Any]
HTTP = {"type": "http", "method": "POST", "path": "/", "headers": []}


class Work:
    """An application that answers when it is let; it counts who is inside."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.inside = self.most = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.go.wait()
        body = (await receive())["body"]
        self.inside -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


def whole(body: bytes = b"{}") -> Callable[[], Awaitable[Message]]:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def never() -> Message:
    await asyncio.Event().wait()
    return {}


async def send_to(
    app: Limits, receive: Callable[[], Awaitable[Message]]
) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(HTTP, receive, send)  # type: ignore[arg-type]
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def test_a_thousand_at_once_are_answered_or_told_when_to_come_back() -> None:
    async def scenario() -> None:
        work = Work()
        app = Limits(work)
        calls = [asyncio.create_task(send_to(app, whole())) for _ in range(1000)]
        while work.inside < AT_WORK:
            await asyncio.sleep(0)
        work.go.set()
        answers = await asyncio.gather(*calls)
        codes = [code for code, _, _ in answers]
        assert codes.count(200) == INSIDE
        assert codes.count(503) == 1000 - INSIDE
        assert all(headers[b"retry-after"] == b"1" for code, headers, _ in answers if code == 503)
        assert work.most == AT_WORK
        assert (await send_to(app, whole(b"next")))[2] == b"next"

    asyncio.run(scenario())


def test_who_sends_slowly_keeps_nobody_from_being_worked_at() -> None:
    async def scenario() -> None:
        work = Work()
        work.go.set()
        app = Limits(work)
        slow = [asyncio.create_task(send_to(app, never)) for _ in range(INSIDE - 1)]
        await asyncio.sleep(0)
        assert (await send_to(app, whole()))[0] == 200
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        assert (await send_to(app, whole()))[0] == 200

    asyncio.run(scenario())


def test_who_reads_slowly_keeps_nobody_from_being_worked_at() -> None:
    async def scenario() -> None:
        work = Work()
        work.go.set()
        app = Limits(work)

        async def stuck(message: Message) -> None:
            await asyncio.Event().wait()

        readers = [
            asyncio.create_task(app(HTTP, whole(), stuck))  # type: ignore[arg-type]
            for _ in range(AT_WORK)
        ]
        assert (await send_to(app, whole()))[0] == 200
        for task in readers:
            task.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("receive", "code", "why"),
    [
        (never, 408, "did not come within"),
        (whole(b" " * (LARGEST_BODY + 1)), 413, "larger than 64 KiB"),
    ],
)
def test_a_request_that_is_too_slow_or_too_large_is_told_so(
    monkeypatch: pytest.MonkeyPatch, receive: Any, code: int, why: str
) -> None:
    monkeypatch.setattr(limits, "PATIENCE", 0.0)
    answered, _, body = asyncio.run(send_to(Limits(Work()), receive))
    assert answered == code
    assert why in json.loads(body)["error"]


def test_who_waits_too_long_for_a_turn_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        work = Work()
        app = Limits(work)
        calls = [asyncio.create_task(send_to(app, whole())) for _ in range(AT_WORK)]
        while work.inside < AT_WORK:
            await asyncio.sleep(0)
        monkeypatch.setattr(limits, "PATIENCE", 0.0)
        code, headers, _ = await send_to(app, whole())
        assert (code, headers[b"retry-after"]) == (503, b"1")
        work.go.set()
        assert [code for code, _, _ in await asyncio.gather(*calls)] == [200] * AT_WORK

    asyncio.run(scenario())


def test_a_caller_who_has_gone_is_not_worked_for() -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def scenario() -> None:
        work = Work()
        await Limits(work)(HTTP, gone, never)  # type: ignore[arg-type]
        assert work.most == 0

    asyncio.run(scenario())
