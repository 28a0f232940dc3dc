"""Names of models: what MLflow, file systems and command lines all take."""

from __future__ import annotations

import re

from registry.errors import InvalidModelName

LONGEST = 128
"""Bytes in UTF-8: file names are made of it, with more around it."""
REFUSED = "/\\:.%\"'`"
"""MLflow refuses most of them in a registered or a logged model, some only after the training."""


def check_model_name(name: str) -> str:
    """The name; raises InvalidModelName for one that would be refused later, after a training."""
    bad = sorted({one for one in name if one in REFUSED or not one.isprintable()})
    if not name.strip():
        why = "it is empty"
    elif bad:
        why = f"it has {' '.join(one if one.isprintable() else repr(one) for one in bad)} in it"
    elif name != name.strip() or name.startswith("-"):
        why = "it begins or ends with a space, or begins with a hyphen"
    elif len(name.encode()) > LONGEST:
        why = f"it has {len(name.encode())} bytes, at most {LONGEST} are allowed"
    else:
        return name
    raise InvalidModelName(
        f"The model name {_short(name)} cannot be used: {why}.",
        hint=f"use letters, digits, - and _: model={_usable(name)}",
    )


def _usable(name: str) -> str:
    """A name that is allowed, as near to `name` as it can be."""
    usable = re.sub(r"[^\w-]+", "_", name).strip("_-")
    return usable if usable and len(usable.encode()) <= LONGEST else "churn_v2"


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:37]}...")
