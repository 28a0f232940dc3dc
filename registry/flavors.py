"""Each flavour's files: written by MLflow, read back without running what they contain."""

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from inspect import isfunction
from pathlib import Path
from typing import Any

from registry.errors import ModelUnloadable, RegistryError, UnsupportedModel, first_line
from registry.fitted import FittedModel, Flavor
from registry.inputs import Column, as_array, as_frame, inferred
from registry.source_code import in_place

# Modules whose classes any stored model may contain; a user adds his own by name.
TRUSTED = ("sklearn", "numpy", "scipy", "xgboost", "lightgbm", "catboost")
# Of the standard library what holds values, and runs nothing by itself.
TRUSTED_TYPES = frozenset(
    {
        "collections.OrderedDict",
        "collections.defaultdict",
        "collections.deque",
        "collections.Counter",
        "functools.partial",
        "datetime.date",
        "datetime.datetime",
        "datetime.timedelta",
    }
)
EXAMPLE_ROWS = 5
# What each flavour needs to be installed where a model is loaded.
LIBRARIES = {
    Flavor.SKLEARN: ("scikit-learn", "skops", "numpy", "scipy"),
    Flavor.XGBOOST: ("xgboost", "scikit-learn", "numpy"),
    Flavor.TORCH: ("torch", "numpy"),
}
# The same library under the name that CPU-only installations give it.
OTHER_NAMES = {"xgboost": "xgboost-cpu"}


def library_versions(flavor: Flavor) -> dict[str, str]:
    """The installed versions of what a flavour needs."""
    return {name: _version(name) for name in LIBRARIES[flavor]}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        if name not in OTHER_NAMES:
            raise UnsupportedModel(
                f"{name} is not installed here.", hint=f"pip install 'ratchet-ml[{name}]'"
            ) from None
        return version(OTHER_NAMES[name])


def save(fitted: FittedModel, folder: Path, mlflow_model: Any, trusted: Sequence[str]) -> None:
    """Write MLflow's files of the model into a new folder.

    Raises UnsupportedModel for what cannot be stored, naming the types or the reason.
    """
    _ignore_import_warning()
    # Requirements are always given: MLflow needs 6 to 10 s to find them out by itself.
    needed = [f"{name}=={number}" for name, number in library_versions(fitted.flavor).items()]
    common = {
        "path": str(folder),
        "mlflow_model": mlflow_model,
        "pip_requirements": [*needed, *fitted.requirements],
    }
    try:
        match fitted.flavor:
            case Flavor.SKLEARN:
                _save_sklearn(fitted, common, trusted)
            case Flavor.XGBOOST:
                _save_xgboost(fitted, common)
            case Flavor.TORCH:
                _save_torch(fitted, common)
    except (RegistryError, OSError):
        raise
    except Exception as error:  # whatever a library raises on what it cannot store
        raise UnsupportedModel(
            f"The model cannot be stored: {first_line(error)}",
            hint="use functions of a module of your own, no lambda and none of a cell; a network "
            "must be one that torch.export takes",
        ) from error


def _ignore_import_warning() -> None:
    # MLflow warns about its own type hints when `mlflow.pyfunc` is imported: noise for a user.
    warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", UserWarning)


def _save_sklearn(fitted: FittedModel, common: dict[str, Any], trusted: Sequence[str]) -> None:
    import mlflow.sklearn
    import skops.io

    _refuse_nameless(fitted.estimator)
    unknown = skops.io.get_untrusted_types(data=skops.io.dumps(fitted.estimator))
    check_trusted(unknown, trusted)
    mlflow.sklearn.save_model(
        fitted.estimator,
        **common,
        **_described(fitted),
        serialization_format="skops",
        skops_trusted_types=unknown,
    )


def _refuse_nameless(estimator: Any) -> None:
    """Raise UnsupportedModel for a function that no module holds under its name: a lambda."""
    params = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    for name, value in params.items():
        if isfunction(value) and "<" in value.__qualname__:
            code = value.__code__
            file = code.co_filename.rpartition("/")[2]
            raise UnsupportedModel(
                f"{name} is {value.__qualname__} of {file}, line {code.co_firstlineno}, which "
                "cannot be stored: no module holds it by name.",
                hint="define it with def at the top level of a module of your own",
            )


def _save_xgboost(fitted: FittedModel, common: dict[str, Any]) -> None:
    import mlflow.xgboost

    mlflow.xgboost.save_model(fitted.estimator, **common, **_described(fitted))


def _save_torch(fitted: FittedModel, common: dict[str, Any]) -> None:
    import mlflow.pytorch
    import torch
    from mlflow.models import infer_signature

    # A copy: the graph must be the one for prediction, on a CPU; the trainer's module stays as is.
    module = copy.deepcopy(fitted.estimator).to("cpu").eval()
    example = as_array(fitted.example[:EXAMPLE_ROWS], _columns(fitted)).astype("float32")
    if len(example) == 1:
        example = example.repeat(2, axis=0)  # one row would be exported as a fixed size
    with torch.no_grad():
        outputs = module(torch.from_numpy(example)).numpy()
    mlflow.pytorch.save_model(
        module,
        **common,
        signature=infer_signature(example, outputs),
        input_example=example,
        serialization_format="pt2",
    )


def _described(fitted: FittedModel) -> dict[str, Any]:
    """Signature and input example of a model that takes a table."""
    import pandas
    from mlflow.models import infer_signature

    example = as_frame(fitted.example[:EXAMPLE_ROWS], _columns(fitted))
    # MLflow compares column names with numbers, which pandas deprecates for its own text type.
    example.columns = pandas.Index(list(example.columns), dtype=object)
    return {"signature": infer_signature(example), "input_example": example}


def _columns(fitted: FittedModel) -> tuple[Column, ...]:
    return fitted.columns or inferred(fitted.example, fitted.features)


def check_trusted(types: Iterable[str], trusted: Sequence[str]) -> None:
    """Raise UnsupportedModel, naming the types that no trusted module holds."""
    allowed = (*TRUSTED, *trusted)
    strange = [
        name
        for name in types
        if name not in TRUSTED_TYPES
        and not any(name == module or name.startswith(f"{module}.") for module in allowed)
    ]
    if not strange:
        return
    modules = ", ".join(dict.fromkeys(name.partition(".")[0] for name in strange))
    raise UnsupportedModel(
        f"The model contains {', '.join(strange[:3])}, which is not among the trusted modules "
        f"({', '.join(allowed)}).",
        hint=f"if you trust it: registry.trusted_modules=[{modules}], beside those that are there",
    )


def load(
    flavor: Flavor, folder: Path, trusted: Sequence[str], code: Mapping[str, str] | None = None
) -> Any:
    """The estimator from MLflow's files; raises whatever the library does when they are broken.

    `code`: the source of the user's own modules, as it was when the estimator was fitted.
    """
    _ignore_import_warning()
    match flavor:
        case Flavor.SKLEARN:
            with in_place(code or {}):
                return _load_sklearn(folder, trusted)
        case Flavor.XGBOOST:
            import mlflow.xgboost

            return mlflow.xgboost.load_model(str(folder))
        case Flavor.TORCH:
            import mlflow.pytorch

            return mlflow.pytorch.load_model(str(folder))


def _load_sklearn(folder: Path, trusted: Sequence[str]) -> Any:
    # Not by mlflow.sklearn, which trusts whatever types the stored model itself says.
    import skops.io

    file = folder / "model.skops"
    if not file.exists():
        raise ModelUnloadable(
            "The model is not stored in the skops format, and a pickle is never loaded.",
            hint="train it again with Ratchet",
        )
    types = skops.io.get_untrusted_types(file=file)
    check_trusted(types, trusted)
    return skops.io.load(file, trusted=types)
