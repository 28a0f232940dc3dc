"""Which form of its columns an estimator wants, and the encoder for those that want numbers only.

| estimator                                       | text columns            | missing numbers     |
|-------------------------------------------------|-------------------------|---------------------|
| histogram gradient boosting, XGBoost, LightGBM  | categories, by itself   | by itself           |
| CatBoost                                        | categories, by itself   | by itself           |
| any other of scikit-learn                       | one-hot                 | mean, if it must be |
| a pipeline that transforms, a class of a user's | as text, it is its work | as NaN              |

A value that no training row had counts as a missing one (one-hot: zeros). A missing text is no
category; one-hot, it is one where training rows had it; for CatBoost it is an empty text. The
encoder is a part of the stored model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from registry.inputs import MAX_CATEGORIES, Column, Form, Kind

_NATIVE = {"xgboost", "lightgbm", "sklearn.ensemble._hist_gradient_boosting"}


def form_of(estimator: Any) -> Form:
    """What an estimator, built and not fitted, wants its text columns to be."""
    parts = list(_parts(estimator))
    if any(_only_transforms(part) for part in parts):
        return Form.OWN
    homes = [{base.__module__ for base in type(part).__mro__} for part in parts]
    if any(_below(home, {"catboost"}) for home in homes):
        return Form.FILLED
    if any(_below(home, _NATIVE) for home in homes):
        return Form.CATEGORY
    own = any(type(part).__module__.partition(".")[0] != "sklearn" for part in parts)
    return Form.OWN if own else Form.TEXT


def encoded(estimator: Any, columns: Sequence[Column]) -> Any:
    """The estimator behind an encoder of its text columns and its missing numbers."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.utils import get_tags

    texts = [column.name for column in columns if column.kind is Kind.TEXT]
    numbers = [column.name for column in columns if column.kind is Kind.NUMBER]
    takes_missing = bool(get_tags(estimator).input_tags.allow_nan)
    if takes_missing and not texts:
        return estimator
    imputer = "passthrough" if takes_missing else SimpleImputer(keep_empty_features=True)
    one_hot = OneHotEncoder(
        handle_unknown="ignore", max_categories=MAX_CATEGORIES, sparse_output=False
    )
    steps = [("numbers", imputer, numbers), ("texts", one_hot, texts)]
    encoder = ColumnTransformer([step for step in steps if step[2]], sparse_threshold=0)
    return Pipeline([("columns", encoder), ("model", estimator)])


def with_categories(estimator: Any, columns: Sequence[Column], params: Mapping[str, Any]) -> None:
    """Tell CatBoost which of its columns are categories, where the user has not."""
    filled = [column.name for column in columns if column.kind is Kind.FILLED]
    if filled and "cat_features" not in params and "text_features" not in params:
        estimator.set_params(cat_features=filled)


def with_values(frame: Any) -> Any:
    """Zeros in columns of numbers without any: scikit-learn makes no histogram of nothing.

    No tree splits at them, whatever later rows hold.
    """
    empty = [name for name in frame.columns if frame[name].dtype.kind == "f"]
    empty = [name for name in empty if frame[name].isna().all()]
    return frame.assign(**dict.fromkeys(empty, 0.0)) if empty else frame


def selection_notes(estimator: Any) -> tuple[str, ...]:
    """Transformers of a fitted pipeline that choose columns by type, and found none."""
    return tuple(
        f"transformer {name} selects no column: numbers and booleans are float64 here"
        for part in _parts(estimator)
        if hasattr(part, "transformers_")
        for (name, _, wanted), (_, _, found) in zip(
            part.transformers, part.transformers_, strict=False
        )
        if callable(wanted) and not len(found)
    )


def _parts(estimator: Any) -> Iterator[Any]:
    """The estimator, and the estimators that it is built of."""
    yield estimator
    params = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    yield from (value for value in params.values() if hasattr(value, "get_params"))


def _only_transforms(part: Any) -> bool:
    names = {base.__name__ for base in type(part).__mro__}
    predicts = hasattr(part, "predict") or names & {"ClassifierMixin", "RegressorMixin"}
    return hasattr(part, "transform") and not predicts


def _below(homes: set[str], modules: set[str]) -> bool:
    return any(home == m or home.startswith(f"{m}.") for home in homes for m in modules)
