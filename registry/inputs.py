"""Rows in the form that an estimator was trained on: a data frame, or an array in column order."""

from typing import Any

import numpy as np
import pyarrow as pa

from registry.errors import MissingFeature
from registry.fitted import FittedModel
from registry.methods.predictions import AnyArray, nearest

EXAMPLE_ROWS = 5


def as_array(data: Any, features: tuple[str, ...]) -> AnyArray:
    """(rows, features) from a table, a data frame or an array that is one already."""
    if isinstance(data, np.ndarray):
        _check_width(data, features)
        return data
    columns = [_column(data, name) for name in features]
    return np.column_stack(columns) if columns else np.empty((len(data), 0))


def as_frame(data: Any, features: tuple[str, ...]) -> Any:
    """A pandas data frame of the features, in their order."""
    import pandas

    if isinstance(data, np.ndarray):
        _check_width(data, features)
        return pandas.DataFrame(data, columns=list(features))
    _check_names(data, features)
    chosen = data.select(list(features)) if isinstance(data, pa.Table) else data[list(features)]
    return chosen.to_pandas() if isinstance(chosen, pa.Table) else chosen


def example_frame(fitted: FittedModel) -> Any:
    """A few rows as a data frame whose whole numbers are floats.

    MLflow would otherwise store a schema that refuses a later missing value.
    """
    import pandas

    frame = as_frame(fitted.example[:EXAMPLE_ROWS], fitted.features)
    whole = [name for name in frame.columns if frame[name].dtype.kind in "iu"]
    frame = frame.astype(dict.fromkeys(whole, "float64"))
    # MLflow compares column names with numbers, which pandas deprecates for its own text type.
    frame.columns = pandas.Index(fitted.features, dtype=object)
    return frame


def example_array(fitted: FittedModel) -> AnyArray:
    """A few rows as an array: two at least, for one row is exported as a fixed size."""
    rows = as_array(fitted.example[:EXAMPLE_ROWS], fitted.features)
    return np.repeat(rows, 2, axis=0) if len(rows) == 1 else rows


def _column(data: Any, name: str) -> AnyArray:
    _check_names(data, (name,))
    column = data[name]
    if isinstance(column, pa.ChunkedArray):
        return np.asarray(column.to_numpy())
    return np.asarray(column)


def _check_names(data: Any, features: tuple[str, ...]) -> None:
    names = data.column_names if isinstance(data, pa.Table) else list(data.columns)
    for feature in features:
        if feature not in names:
            raise MissingFeature(
                f"The rows have no column {feature!r}, which the model was trained on; "
                f"{nearest(feature, names)}"
            )


def _check_width(data: AnyArray, features: tuple[str, ...]) -> None:
    if data.ndim != 2 or data.shape[1] != len(features):
        raise MissingFeature(
            f"The rows have the shape {data.shape}; the model was trained on "
            f"{len(features)} features."
        )
