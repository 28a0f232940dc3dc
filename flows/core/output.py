"""Values that will exist when a run does, and how one becomes the input of a task."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

from flows.core import values
from flows.core.annotations import element_of, fits, name_of
from flows.core.errors import GraphError, NotStorable
from flows.core.graph import Const, Input, Many, Ref


class Output:
    """A value that will exist when the run does: a task's result, or a field of it."""

    __slots__ = ("_annotation", "_ref", "_wanted")

    def __init__(self, ref: Ref, annotation: Any, wanted: bool = True) -> None:
        self._ref = ref
        self._annotation = annotation
        self._wanted = wanted

    def __getattr__(self, name: str) -> Output:
        if name.startswith("__"):
            raise AttributeError(name)
        kind = self._annotation
        if not dataclasses.is_dataclass(kind):
            raise GraphError(f"{self._ref} is a {name_of(kind)}, which has no field {name!r}")
        hints = get_type_hints(kind)
        if name not in {f.name for f in dataclasses.fields(kind)}:
            raise GraphError(
                f"{name_of(kind)} has no field {name!r}", hint=f"it has {', '.join(hints)}"
            )
        return Output(self._at(name), hints[name])

    def __getitem__(self, key: str | int) -> Output:
        return Output(self._at(key), element_of(self._annotation, key))

    def _at(self, part: str | int) -> Ref:
        return Ref(node=self._ref.node, path=(*self._ref.path, part))

    def __invert__(self) -> Output:
        return Output(self._ref, self._annotation, not self._wanted)

    def __repr__(self) -> str:
        return f"<{self._ref}: {name_of(self._annotation)}, known when the run is>"

    def _refuse(self, *_: Any) -> Any:
        raise GraphError(
            f"{self._ref} is not known while the flow is built",
            hint="branch with when(...).then(...), loop with task.map(...), compute inside a task",
        )

    __bool__ = __iter__ = __len__ = __add__ = __sub__ = __mul__ = __lt__ = __gt__ = _refuse
    __le__ = __ge__ = __truediv__ = __float__ = __int__ = __contains__ = _refuse


def input_of(key: str, name: str, value: Any, annotation: Any) -> Input:
    """Where the parameter's value comes from. Raises GraphError when its type does not fit."""
    if isinstance(value, Output):
        if not value._wanted:
            raise GraphError(f"{key}: ~ is for when(...), not for the input {name}")
        if not fits(value._annotation, annotation):
            raise GraphError(
                f"{key} takes {name}: {name_of(annotation)}, "
                f"but {value._ref} is {name_of(value._annotation)}"
            )
        return value._ref
    if isinstance(value, list | tuple) and any(isinstance(item, Output) for item in value):
        element = element_of(annotation, 0)
        return Many(items=tuple(input_of(key, name, item, element) for item in value))
    try:
        data = values.to_json(value)
        values.from_json(data, annotation)
    except (NotStorable, ValueError) as error:
        raise GraphError(f"{key} cannot take {name}={value!r}: {error}") from None
    return Const(const=data)
