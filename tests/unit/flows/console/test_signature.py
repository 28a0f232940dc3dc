"""A signature is that of one method, path, body and time, as `openssl` makes it too."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.console.signature import VALID, Unsigned, sign, verify

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
REQUEST: dict[str, Any] = {
    "secret": "s",
    "method": "POST",
    "path": "/api/flows/a/runs",
    "body": b"{}",
}


def test_openssl_makes_the_same() -> None:
    text = f"{int(AT.timestamp())}.POST./api/flows/a/runs.{{}}".encode()
    command = ["openssl", "dgst", "-sha256", "-hmac", "s", "-r"]
    digest = subprocess.run(command, input=text, capture_output=True, check=True).stdout[:64]
    assert sign(**REQUEST, at=AT) == f"t={int(AT.timestamp())},v1={digest.decode()}"


def test_nobody_signs_with_an_empty_secret() -> None:
    empty = REQUEST | {"secret": ""}
    with pytest.raises(Unsigned, match="secret is empty"):
        verify(sign(**empty, at=AT), **empty, now=AT)


@pytest.mark.parametrize("way", [-1, 1])
def test_it_is_good_for_five_minutes_of_either_clock(way: int) -> None:
    signature = sign(**REQUEST, at=AT)
    assert verify(signature, **REQUEST, now=AT + way * VALID)
    with pytest.raises(Unsigned, match="good for 5 minutes"):
        verify(signature, **REQUEST, now=AT + way * (VALID + timedelta(seconds=1)))


@pytest.mark.parametrize(
    "other",
    [
        {"secret": "S"},
        {"secret": ""},
        {"method": "GET"},
        {"path": "/api/flows/b/runs"},
        {"path": "/api/flows/a/runs?x"},
        {"path": "/api/flows/%61/runs"},
        {"body": b""},
        {"body": b"{} "},
    ],
)
def test_it_fits_nothing_else(other: dict[str, Any]) -> None:
    with pytest.raises(Unsigned, match="does not fit"):
        verify(sign(**(REQUEST | other), at=AT), **REQUEST, now=AT)


@pytest.mark.parametrize(
    "form",
    ["", "{v}", "t={t}", "v1={v}", "v1={v},t={t}", "t={t},v1={v} ", "t={t}.0,v1={v}", "t=٣,v1={v}",
     "t={t},v1={V}", "t={t},v1={v},v1={v}", "t=-{t},v1={v}", "sha256={v}"],
)  # fmt: skip
def test_it_has_one_form(form: str) -> None:
    good = sign(**REQUEST, at=AT)
    time, _, digits = good.removeprefix("t=").partition(",v1=")
    with pytest.raises(Unsigned, match="t=SECONDS,v1=HEX"):
        verify(form.format(t=time, v=digits, V="A" * 64), **REQUEST, now=AT)
