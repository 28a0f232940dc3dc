"""The REST API over a real server: who may ask, what may be said, and what repeating does."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.bootstrap import Ratchet, open_project
from flows.console.app import make_app
from flows.console.limits import LARGEST_BODY
from flows.console.server import ApiServer, Health
from flows.console.signature import sign
from flows.core.errors import StoreError
from flows.up.ports import listening
from tests.manual_clock import ManualClock

TOKEN, SECRET = "a-token", "a-secret"
FIRE, START = "/api/schedules/asked/fire", "/api/flows/hello/runs"
OTHER_FIRE = "/api/schedules/also/fire"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CONFIG = """
defaults: [ratchet, _self_]
flows: [api_flows]
executor: threads
schedules:
  asked: {flow: hello, on_request: true, overrides: [name=schedule]}
  also: {flow: hello, on_request: true}
"""
FLOWS = """
from dataclasses import dataclass, field
from typing import Any
from flows import flow, task
from ray_jobs import TrainerConfig

@dataclass(frozen=True, kw_only=True)
class Hello:
    name: str = "you"
    free: dict[str, Any] = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

@task
def greet(name: str) -> str:
    return f"hello {name}"

@flow
def hello(cfg: Hello) -> None:
    greet(cfg.name)

@flow
def other(cfg: Hello) -> None:
    greet(cfg.name)
"""


class Api:
    """A served API, and a caller of it."""

    def __init__(self, ratchet: Ratchet) -> None:
        self.ratchet = ratchet
        self.orders = 0
        self.headers: dict[str, str] = {}  # of the last answer
        self.health = Health(ok=True, parts={"worker": "up"})
        self.server = ApiServer(self._app, listening(42_000))
        self.server.start()

    def _app(self) -> Any:
        return make_app(
            replace(self.ratchet, clock=ManualClock(NOW)),
            token=TOKEN,
            secret=SECRET,
            health=lambda: self.health,
            ordered=self._ordered,
        )

    def _ordered(self) -> None:
        self.orders += 1

    def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = TOKEN, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """Send a body as it is when it is bytes, else as JSON; returns the code and the answer."""
        host = self.server.address.removeprefix("http://")
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body)
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            self.headers = dict(answer.headers)
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def runs(self) -> int:
        return len(self.ratchet.service.runs())


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.delenv("RATCHET_HOME", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "api_flows", raising=False)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(CONFIG)
    (tmp_path / "api_flows.py").write_text(FLOWS)
    ratchet = open_project(tmp_path)
    declared = ratchet.declared()
    ratchet.schedules.sync(declared.schedules, declared.problems)
    api = Api(ratchet)
    yield api
    api.server.stop()
    ratchet.close()
    sys.modules.pop("api_flows", None)


def test_a_run_is_started_told_of_and_driven(api: Api) -> None:
    code, started = api.call("POST", "/api/flows/hello/runs", {"overrides": ["name=Ann"]})
    assert (code, started["status"], api.orders) == (202, "queued", 1)
    assert started["trigger"] == {"kind": "api", "overrides": ["name=Ann"]}
    with api.ratchet.engine() as engine:
        engine.run_until_ended([started["run"]], threading.Event())
    code, shown = api.call("GET", f"/api/runs/{started['run']}")
    assert (code, shown["status"]) == (200, "succeeded")
    assert [task["status"] for task in shown["tasks"]] == ["succeeded"]
    assert api.ratchet.service.show(started["run"]).tasks[0].value == '"hello Ann"'


def test_a_schedule_is_fired_with_its_own_overrides_and_more(api: Api) -> None:
    code, fired = api.call("POST", "/api/schedules/asked/fire")
    assert (code, fired["fire"]["outcome"]) == (202, "started")
    detail = api.ratchet.service.show(fired["run"])
    assert "name: schedule" in detail.config_yaml
    api.ratchet.service.cancel(fired["run"], by="the test")
    _, again = api.call("POST", "/api/schedules/asked/fire", {"overrides": ["name=API"]})
    assert "name: API" in api.ratchet.service.show(again["run"]).config_yaml


@pytest.mark.parametrize("path", ["/api/flows/hello/runs", "/api/schedules/asked/fire"])
def test_the_same_idempotency_key_is_the_same_run(api: Api, path: str) -> None:
    _, first = api.call("POST", path, Idempotency_Key="k1")
    _, second = api.call("POST", path, Idempotency_Key="k1")
    _, third = api.call("POST", path, {"key": "k1"})
    assert first["run"] == second["run"] == third["run"]
    assert api.runs() == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (START, {"overrides": ["name=b"]}),
        (START, {}),
        ("/api/flows/other/runs", {"overrides": ["name=a"]}),
        (FIRE, {"overrides": ["name=a"]}),
    ],
)
def test_an_idempotency_key_stands_for_one_request(
    api: Api, path: str, body: dict[str, Any]
) -> None:
    asked = {"overrides": ["name=a"]}
    _, first = api.call("POST", START, asked, Idempotency_Key="k1")
    code, answer = api.call("POST", path, body, Idempotency_Key="k1")
    assert (code, api.runs()) == (422, 1)
    assert "the key k1 stands for another request" in answer["error"]
    assert api.call("POST", START, asked, Idempotency_Key="k1")[1]["run"] == first["run"]


def test_a_key_of_a_fire_stands_for_that_schedule_and_its_overrides(api: Api) -> None:
    _, first = api.call("POST", FIRE, {"overrides": ["name=a"]}, Idempotency_Key="k1")
    for path, body in ((FIRE, {"overrides": ["name=b"]}), (FIRE, {}), (OTHER_FIRE, {})):
        assert api.call("POST", path, body, Idempotency_Key="k1")[0] == 422
    _, again = api.call("POST", FIRE, {"overrides": ["name=a"]}, Idempotency_Key="k1")
    assert (again["run"], api.runs()) == (first["run"], 1)


def test_what_could_not_be_done_takes_no_key(api: Api) -> None:
    for path in (START, FIRE):
        assert api.call("POST", path, {"overrides": ["nam=a"]}, Idempotency_Key=path)[0] == 422
        assert api.call("POST", path, {"overrides": ["name=a"]}, Idempotency_Key=path)[0] == 202


@pytest.mark.parametrize("token", [None, "", "guessed", TOKEN + "x"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/flows/hello/runs"),
        ("POST", "/api/schedules/asked/fire"),
        ("GET", "/api/runs/last"),
        ("POST", "/api/runs/last/cancel"),
    ],
)
def test_nobody_gets_in_without_the_token(
    api: Api, method: str, path: str, token: str | None
) -> None:
    code, answer = api.call(method, path, token=token)
    assert code == 401
    assert "token" in answer["error"]
    assert api.runs() == 0


def hook(
    api: Api,
    path: str,
    body: bytes = b"",
    *,
    method: str = "POST",
    signed: dict[str, Any] | None = None,
) -> tuple[int, dict[str, Any]]:
    """A signed request; `signed` says what was signed, where that is something else."""
    said = {"secret": SECRET, "method": method, "path": path, "body": body, "at": NOW}
    signature = sign(**(said | (signed or {})))
    return api.call(method, path, body, token=None, X_Ratchet_Signature=signature)


@pytest.mark.parametrize("path", [FIRE, START])
def test_a_web_hook_signs_its_request_and_needs_no_token(api: Api, path: str) -> None:
    code, first = hook(api, path, b'{"overrides": ["name=hook"]}')
    assert code == 202
    assert "name: hook" in api.ratchet.service.show(first["run"]).config_yaml


@pytest.mark.parametrize("path", [FIRE, START])
def test_a_signed_request_that_is_sent_again_is_the_same_run(api: Api, path: str) -> None:
    _, first = hook(api, path)
    signature = sign(SECRET, "POST", path, b"", NOW)
    code, again = api.call(
        "POST", path, b"", token=None, X_Ratchet_Signature=signature, Idempotency_Key="another"
    )
    assert (code, again["run"], api.runs()) == (202, first["run"], 1)


def test_of_several_signatures_the_key_in_the_body_counts(api: Api) -> None:
    body = b'{"key": "delivery-1"}'
    _, first = hook(api, START, body)
    _, again = hook(api, START, body, signed={"at": NOW + timedelta(seconds=30)})
    assert again["run"] == first["run"]


@pytest.mark.parametrize(
    "signed",
    [
        {"path": FIRE},
        {"path": START + "?x=1"},
        {"method": "GET"},
        {"body": b"{}"},
        {"secret": "guessed"},
        {"at": NOW - timedelta(minutes=5, seconds=1)},
        {"at": NOW + timedelta(minutes=5, seconds=1)},
    ],
    ids=lambda signed: next(iter(signed)),
)
def test_a_signature_is_good_for_one_request_and_five_minutes(
    api: Api, signed: dict[str, Any]
) -> None:
    code, answer = hook(api, START, signed=signed)
    assert (code, api.runs()) == (401, 0)
    assert "signature" in answer["error"]
    assert hook(api, START, signed={"at": NOW - timedelta(minutes=4, seconds=59)})[0] == 202


def test_a_signature_does_not_fit_another_time_than_it_says(api: Api) -> None:
    old = sign(SECRET, "POST", START, b"", NOW - timedelta(days=1))
    forged = f"t={int(NOW.timestamp())},{old.partition(',')[2]}"
    code, _ = api.call("POST", START, b"", token=None, X_Ratchet_Signature=forged)
    assert (code, api.runs()) == (401, 0)


@pytest.mark.parametrize(
    "signature",
    ["", "sha256=" + "0" * 64, "nonsense", "t=,v1=", f"t=1e9,v1={'0' * 64}", f"v1={'0' * 64}"],
)
def test_a_signature_that_is_none_is_refused_even_with_the_token(api: Api, signature: str) -> None:
    code, _ = api.call("POST", START, b"{}", X_Ratchet_Signature=signature)
    assert (code, api.runs()) == (401, 0)


def test_the_documented_way_to_sign_works(api: Api) -> None:
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    script = page[page.index("    body='") : page.index("\nA signature is good for")]
    script = script.replace("http://127.0.0.1:8484", api.server.address).replace("NAME", "asked")
    script = script.replace("trainer.seed=1", "name=shell")
    at = f"date() {{ echo {int(NOW.timestamp())}; }}\nWEBHOOK_SECRET={SECRET}\n"
    done = subprocess.run(["bash", "-ec", at + script], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert "name: shell" in api.ratchet.service.show(answer["run"]).config_yaml


def test_a_web_hook_starts_things_and_does_no_more(api: Api) -> None:
    run = hook(api, START)[1]["run"]
    assert hook(api, f"/api/runs/{run}/cancel")[0] == 401
    assert hook(api, f"/api/runs/{run}", method="GET")[0] == 401
    assert api.ratchet.service.show(run).run.status == "queued"


@pytest.mark.parametrize("path", [FIRE, START])
def test_a_web_hook_may_name_no_code_either(api: Api, path: str) -> None:
    body = b'{"overrides": ["trainer.estimator=sklearn.utils._testing:check_output"]}'
    code, answer = hook(api, path, body)
    assert (code, api.runs()) == (422, 0)
    assert "names code" in answer["error"]


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"{", 422, "Invalid JSON"),
        (b"[1]", 422, "an object"),
        ({"overrides": "name=x"}, 422, "overrides"),
        ({"more": 1}, 422, "more"),
        ({"overrides": ["nam=x"]}, 422, "did you mean name?"),
        ({"overrides": ["name=x,y"]}, 422, "several values"),
        ({"overrides": ["name"]}, 422, "is not an override"),
        ({"overrides": ["home=/etc"]}, 422, "a run may not change it"),
        ({"overrides": ["name=${oc.env:HOME}"]}, 422, "may not be an interpolation"),
        ({"overrides": [r"name=$\{oc.env:HOME\}"]}, 422, "may not be an interpolation"),
        ({"overrides": ["name='{at:$%%}{oc.env:HOME}'"]}, 422, "may hold no {at}"),
        ({"overrides": ["name=secret:HOME"]}, 422, "may refer to no secret"),
        ({"overrides": ["trainer.estimator=sklearn.svm.SVC"]}, 422, "trainer.estimator names code"),
        ({"overrides": ["trainer={estimator: os.system}"]}, 422, "trainer.estimator names code"),
        ({"overrides": ["free={a: {_target_: os.system}}"]}, 422, "free.a._target_ names code"),
        ({"key": ""}, 422, "1 to 190 characters"),
        ({"key": "k" * 191}, 422, "1 to 190 characters"),
        (b" " * (LARGEST_BODY + 1), 413, "larger than 64 KiB"),
    ],
)
@pytest.mark.parametrize("path", ["/api/flows/hello/runs", "/api/schedules/asked/fire"])
def test_what_cannot_be_done_is_one_line_and_starts_nothing(
    api: Api, path: str, body: Any, code: int, said: str
) -> None:
    found, answer = api.call("POST", path, body)
    assert found == code, answer
    assert said in answer["error"]
    assert "\n" not in answer["error"]
    assert api.runs() == api.orders == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/flows/nope/runs"),
        ("POST", "/api/schedules/nope/fire"),
        ("GET", "/api/runs/nope"),
        ("GET", "/api/runs/last"),
        ("POST", "/api/runs/last/cancel"),
        ("POST", "/api/runs/nope/cancel"),
        ("GET", "/api/nope"),
    ],
)
def test_what_is_not_there_is_not_found(api: Api, method: str, path: str) -> None:
    code, answer = api.call(method, path)
    assert code == 404
    assert answer["error"]


@pytest.mark.parametrize("characters", [1, 6, -1])
def test_a_run_is_named_by_its_whole_id(api: Api, characters: int) -> None:
    _, started = api.call("POST", START)
    end = started["run"][-characters:]
    assert api.call("GET", f"/api/runs/{end}")[0] == 404
    assert api.call("POST", f"/api/runs/{end}/cancel")[0] == 404
    assert api.ratchet.service.get(started["run"]).status == "queued"


def test_a_flow_that_is_no_known_name_is_not_imported(api: Api) -> None:
    code, _ = api.call("POST", "/api/flows/this:s/runs")
    assert code == 404
    assert "this" not in sys.modules


def test_cancelling_twice_is_a_conflict(api: Api) -> None:
    _, started = api.call("POST", "/api/flows/hello/runs")
    path = f"/api/runs/{started['run']}/cancel"
    code, cancelled = api.call("POST", path)
    assert (code, cancelled["status"]) == (202, "cancelled")
    code, answer = api.call("POST", path)
    assert code == 409
    assert "cancelled" in answer["error"]


def test_everybody_may_ask_for_the_health(api: Api) -> None:
    assert api.call("GET", "/health", token=None) == (200, {"ok": True, "worker": "up"})
    api.health = Health(ok=False, parts={"worker": "the store is away"})
    code, answer = api.call("GET", "/health", token=None)
    assert (code, answer["worker"]) == (503, "the store is away")


def test_a_store_that_is_away_is_said_and_can_be_tried_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreError("the database is away", hint="start it")

    monkeypatch.setattr(api.ratchet.service, "start", away)
    answer = api.call("POST", START)
    assert answer == (503, {"error": "the database is away", "hint": "start it"})
    assert api.headers["retry-after"] == "1"


def test_what_callers_show_is_written_nowhere(api: Api) -> None:
    _, started = api.call("POST", START, Idempotency_Key="k")
    hook(api, FIRE, b'{"key": "delivery"}')
    hook(api, FIRE, signed={"secret": "guessed"})
    api.call("POST", START, token=TOKEN + "x")
    api.call("POST", f"/api/runs/{started['run']}/cancel")
    files = [file for file in api.ratchet.home.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert not any(each.encode() in file.read_bytes() for each in (TOKEN, SECRET, "guessed"))
