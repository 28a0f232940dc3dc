"""The REST API, which is the web hook as well.

    POST /api/schedules/{name}/fire     fire a schedule now
    POST /api/flows/{flow}/runs         start a run of a flow
    GET  /api/runs/{run}                a run and its tasks
    POST /api/runs/{run}/cancel         ask for a run's end
    GET  /health                        200 when everything works, else 503; asks for no token

A caller shows `Authorization: Bearer TOKEN`. The two that start something take a signature
instead, where a web hook's secret is configured: see `flows.console.signature`. A run is named by
its whole id: `last`, or the end of one, would mean another run the next time. `Idempotency-Key`, or
`"key"` in the body, makes repeating safe, and stands for one request alone; of a signed request
only what is signed counts, so that a repeated one is the same without any key.
In each answer `run` is that id. Errors are `{"error": one line, "hint": the next thing to do}`.
Who may do what stands in docs/security.md.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException

from flows.bootstrap import Ratchet
from flows.console.limits import Limits, answer
from flows.console.server import Health
from flows.console.signature import Unsigned, verify
from flows.core.clock import Clock
from flows.core.errors import (
    ConfigError,
    KeyReused,
    NotFound,
    RatchetError,
    Refused,
    RowRefused,
    StoreError,
)
from flows.core.flow import Flow
from flows.core.schedule import FireOutcome
from flows.documents import Json, fire_json, progress_json, run_json

BY = "API"
LONGEST_KEY = 190
"""Characters of an idempotency key: a run's key has a few more."""

_CODES: Mapping[type[RatchetError], int] = {
    NotFound: 404,
    KeyReused: 422,
    Refused: 409,
    ConfigError: 422,
    RowRefused: 422,
    StoreError: 503,
}


class Order(BaseModel):
    """What a caller may say beside the path."""

    model_config = ConfigDict(extra="forbid")

    overrides: list[str] = []  # of the flow's own config
    key: str | None = None  # as the header Idempotency-Key


class Access:
    """Who may come in: who shows the token, or signs with the web hook's secret."""

    def __init__(self, token: str, secret: str | None, clock: Clock) -> None:
        self._token = token.encode()
        self._secret = secret
        self._clock = clock

    def with_token(self, authorization: Annotated[str, Header()] = "") -> None:
        """Raises when the token is missing or wrong."""
        scheme, _, shown = authorization.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(shown.encode(), self._token):
            raise Unsigned("neither a token nor a signature")

    # Not a plain def: only a coroutine can read the body as it came, which is what was signed.
    async def order(
        self,
        request: Request,
        authorization: Annotated[str, Header()] = "",
        x_ratchet_signature: Annotated[str | None, Header()] = None,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Order:
        """The order in the body, from somebody who may give it."""
        body = await request.body()
        if x_ratchet_signature is None:
            self.with_token(authorization)
            key = idempotency_key
        else:
            key = f"signed:{self._verified(x_ratchet_signature, request, body)}"
        order = Order.model_validate_json(body or b"{}")
        return order.model_copy(update={"key": _checked(key if order.key is None else order.key)})

    def _verified(self, signature: str, request: Request, body: bytes) -> str:
        if self._secret is None:
            raise Unsigned("no web hook's secret is configured")
        path, query = request.scope["raw_path"].decode(), request.scope["query_string"].decode()
        whole = f"{path}?{query}" if query else path
        return verify(signature, self._secret, request.method, whole, body, self._clock.now())


def _checked(key: str | None) -> str | None:
    if key is not None and not (0 < len(key) <= LONGEST_KEY and key.isprintable()):
        raise ConfigError(f"an idempotency key has 1 to {LONGEST_KEY} characters, all printable")
    return key


def make_app(
    ratchet: Ratchet,
    *,
    token: str,
    secret: str | None = None,
    health: Callable[[], Health],
    ordered: Callable[[], None],
) -> FastAPI:
    """The application over one Ratchet.

    Args:
        secret: the web hook's; None: no web hook.
        ordered: called when there is something to do now.
    """
    app = FastAPI(title="Ratchet", docs_url=None, redoc_url=None, openapi_url=None)
    access = Access(token, secret, ratchet.clock)
    order = Depends(access.order)
    with_token = [Depends(access.with_token)]

    @app.post("/api/schedules/{name}/fire", status_code=202)
    def fire(name: str, order: Order = order) -> Json:
        fired = ratchet.fire(name, order.overrides, key=order.key, by=BY)
        if fired.outcome is FireOutcome.STARTED:
            ordered()
        return {"run": fired.run_id, "fire": fire_json(fired)}

    @app.post("/api/flows/{flow}/runs", status_code=202)
    def start(flow: str, order: Order = order) -> Json:
        run = ratchet.start(
            _flow(ratchet, flow),
            order.overrides,
            trigger={"kind": "api"},
            key=order.key,
            outside=True,
        )
        ordered()
        return {"run": run.id} | run_json(run)

    @app.get("/api/runs/{run}", dependencies=with_token)
    def show(run: str) -> Json:
        detail = ratchet.service.show(ratchet.service.get(run).id)
        return {"run": detail.run.id} | progress_json(detail)

    @app.post("/api/runs/{run}/cancel", status_code=202, dependencies=with_token)
    def cancel(run: str) -> Json:
        cancelled = ratchet.service.cancel(ratchet.service.get(run).id, by=BY)
        ordered()
        return {"run": cancelled.id} | run_json(cancelled)

    @app.get("/health")
    def healthy(response: Response) -> Json:
        state = health()
        response.status_code = 200 if state.ok else 503
        return {"ok": state.ok, **state.parts}

    _add_errors(app)
    app.add_middleware(Limits)
    return app


def _flow(ratchet: Ratchet, name: str) -> Flow:
    if name not in ratchet.flows.names():  # a dotted path would import what it names
        raise NotFound(
            f"there is no flow {name!r}",
            hint=f"known: {', '.join(sorted(ratchet.flows.names())) or 'none'}",
        )
    return ratchet.flow(name)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RatchetError)
    def _ratchet(_: Request, error: RatchetError) -> JSONResponse:
        # A fire that cannot be prepared says why, and what kind of mistake that was is its cause.
        kinds = (error, error.__cause__)
        codes = [code for kind, code in _CODES.items() if any(isinstance(e, kind) for e in kinds)]
        return answer(codes[0] if codes else 400, str(error), error.hint)

    @app.exception_handler(Unsigned)
    def _unsigned(_: Request, error: Unsigned) -> JSONResponse:
        return answer(401, str(error), "the token: up/api-token; signatures: docs/security.md")

    @app.exception_handler(ValidationError)
    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: Any) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        message = f"{where}: {first['msg']}" if where else str(first["msg"])
        return answer(422, message, '{"overrides": ["trainer.seed=1"]}')

    @app.exception_handler(HTTPException)
    def _http(_: Request, error: HTTPException) -> JSONResponse:
        hint = "the paths: docs/operations.md" if error.status_code in (404, 405) else None
        return answer(error.status_code, str(error.detail), hint)

    @app.exception_handler(Exception)
    def _unexpected(_: Request, error: Exception) -> JSONResponse:
        return answer(500, f"{type(error).__name__} in the API", "the trace is in its log")
