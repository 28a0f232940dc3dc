"""The REST API, which is the web hook as well.

    POST /api/schedules/{name}/fire     fire a schedule now
    POST /api/flows/{flow}/runs         start a run of a flow
    GET  /api/runs/{run}                a run and its tasks
    POST /api/runs/{run}/cancel         ask for a run's end
    GET  /health                        200 when everything works, else 503; asks for no token

A caller shows `Authorization: Bearer TOKEN`. The two that start something take a signed body
instead, where a web hook's secret is configured: `X-Ratchet-Signature: sha256=HEX`, the HMAC of
the body. `Idempotency-Key` (or `"key"` in the body, where it is signed) makes repeating safe.
Errors are `{"error": one line, "hint": the next thing to do}`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException

from flows.console.desk import Desk, detail_document, fire_document, run_document
from flows.core.errors import ConfigError, NotFound, RatchetError, Refused, RowRefused, StoreError

LARGEST_BODY = 64 * 1024
LONGEST_KEY = 200

_CODES: Mapping[type[RatchetError], int] = {
    NotFound: 404,
    Refused: 409,
    ConfigError: 422,
    RowRefused: 422,
    StoreError: 503,
}


class Order(BaseModel):
    """What a caller may say beside the path."""

    model_config = ConfigDict(extra="forbid")

    overrides: list[str] = []  # of the flow's own config
    key: str | None = None  # as the header Idempotency-Key, but signed with the body


class _Denied(Exception):
    """Neither the token nor a signature that fits."""


class Doorkeeper:
    """Lets in who shows the token, or signs with the web hook's secret."""

    def __init__(self, token: str, secret: str | None) -> None:
        self._token = token.encode()
        self._secret = secret.encode() if secret else None

    def with_token(self, authorization: Annotated[str, Header()] = "") -> None:
        """Raises when the token is missing or wrong."""
        scheme, _, shown = authorization.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(shown.encode(), self._token):
            raise _Denied

    # Not a plain def: only a coroutine can read the body as it came, which is what was signed.
    async def order(
        self,
        request: Request,
        authorization: Annotated[str, Header()] = "",
        x_ratchet_signature: Annotated[str | None, Header()] = None,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Order:
        """The order in the body, from somebody who may give it."""
        body = await _body(request)
        if x_ratchet_signature is None:
            self.with_token(authorization)
        elif not self._signed(body, x_ratchet_signature):
            raise _Denied
        order = Order.model_validate_json(body or b"{}")
        key = idempotency_key if order.key is None else order.key
        if key is not None and not 0 < len(key) <= LONGEST_KEY:
            raise ConfigError(f"an idempotency key has 1 to {LONGEST_KEY} characters")
        return order.model_copy(update={"key": key})

    def _signed(self, body: bytes, signature: str) -> bool:
        if self._secret is None:
            return False
        expected = "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected.encode(), signature.encode())


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, f"the body is larger than {LARGEST_BODY // 1024} KiB")
    return body


def make_app(desk: Desk, *, token: str, secret: str | None = None) -> FastAPI:
    """The application over one Ratchet; `secret` is the web hook's, None: no web hook."""
    app = FastAPI(title="Ratchet", docs_url=None, redoc_url=None, openapi_url=None)
    doors = Doorkeeper(token, secret)
    ordered = Depends(doors.order)
    known = [Depends(doors.with_token)]

    @app.post("/api/schedules/{name}/fire", status_code=202)
    def fire(name: str, order: Order = ordered) -> dict[str, Any]:
        return fire_document(desk.fire(name, order.overrides, order.key))

    @app.post("/api/flows/{flow}/runs", status_code=202)
    def start(flow: str, order: Order = ordered) -> dict[str, Any]:
        return run_document(desk.start(flow, order.overrides, order.key))

    @app.get("/api/runs/{run}", dependencies=known)
    def show(run: str) -> dict[str, Any]:
        return detail_document(desk.show(run))

    @app.post("/api/runs/{run}/cancel", status_code=202, dependencies=known)
    def cancel(run: str) -> dict[str, Any]:
        return run_document(desk.cancel(run))

    @app.get("/health")
    def health(response: Response) -> dict[str, Any]:
        found = desk.health()
        response.status_code = 200 if found.ok else 503
        return {"ok": found.ok, **found.parts}

    _add_errors(app)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RatchetError)
    def _ratchet(_: Request, error: RatchetError) -> JSONResponse:
        # A fire that cannot be prepared says why, and what kind of mistake that was is its cause.
        kinds = (error, error.__cause__)
        codes = [code for kind, code in _CODES.items() if any(isinstance(e, kind) for e in kinds)]
        return _told(codes[0] if codes else 400, str(error), error.hint)

    @app.exception_handler(_Denied)
    def _denied(_: Request, error: _Denied) -> JSONResponse:
        return _told(401, "neither a token nor a signature that fits", "the token: up/api-token")

    @app.exception_handler(ValidationError)
    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: Any) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        said = f"{where}: {first['msg']}" if where else str(first["msg"])
        return _told(422, said, '{"overrides": ["trainer.seed=1"]}')

    @app.exception_handler(HTTPException)
    def _http(_: Request, error: HTTPException) -> JSONResponse:
        return _told(error.status_code, str(error.detail), None)


def _told(code: int, error: str, hint: str | None) -> JSONResponse:
    later = {"Retry-After": "1"} if code in (429, 503) else None
    return JSONResponse({"error": " ".join(error.split()), "hint": hint}, code, later)
