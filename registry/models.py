"""Registered models: stored with everything they need, registered once, loaded with care.

The files are written by each flavour's `save_model` into a temporary folder and uploaded as a
logged model by `MlflowClient`, in the steps that MLflow's own `log_model` takes. `log_model`
itself opens or joins the thread's active run; these calls name every id, so that flows in
threads beside each other do not meet.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from registry import flavors
from registry.errors import (
    ModelUnloadable,
    RegistryUnreachable,
    UnknownModel,
    UnsupportedModel,
    first_line,
)
from registry.fitted import Card, FittedModel, class_labels
from registry.loaded import CODE_FILE, LoadedModel
from registry.manifest import manifest_of
from registry.mlflow_seam import MlflowSeam, missing, translated
from registry.registered import DIGEST_TAG
from registry.source_code import own

KEY_TAG = "ratchet.key"
CARD_FILE = "ratchet.json"
EXTRA_FOLDER = "extra"
PAGE = 10_000
"""Versions that MLflow is asked for at once: what it allows."""


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One registered version of a model."""

    model: str
    version: str
    mlflow_run_id: str | None
    """The MLflow run that produced it."""
    tags: dict[str, str]


class Models:
    """The model registry of one MLflow."""

    def __init__(self, seam: MlflowSeam) -> None:
        self._seam = seam

    def register(
        self,
        name: str,
        fitted: FittedModel,
        *,
        mlflow_run_id: str,
        key: str,
        tags: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """Store the fitted model and register it as the next version of `name`.

        Idempotent by `key` (one for each model that a run trains): registered before, the same
        version is returned. Raises UnsupportedModel for types that are not trusted.
        """
        with translated("MLflow"):
            known = self._by_key(name, key)
            if known is not None:
                return known
            self._create_model(name)
            logged = self._log(name, fitted, mlflow_run_id, key)
            self._seam.client.create_model_version(
                name,
                # Not `models:/<id>`, which MLflow's database store looks up in the global store.
                source=logged.artifact_location,
                run_id=mlflow_run_id,
                tags={**(tags or {}), **logged.tags},
                model_id=logged.model_id,
                await_creation_for=0,
            )
            registered = self._by_key(name, key)
        assert registered is not None
        return registered

    def try_out(self, fitted: FittedModel) -> LoadedModel:
        """The model as it would come back: stored and loaded, without MLflow's server.

        Raises UnsupportedModel for what cannot be stored, ModelUnloadable for what does not load.
        """
        from mlflow.models import Model

        own = ModelVersion(model="model", version="0", mlflow_run_id=None, tags={DIGEST_TAG: ""})
        with tempfile.TemporaryDirectory(prefix="ratchet-model-") as folder:
            files = Path(folder, "model")
            self._write(fitted, files, Model())
            return from_files(own, files, self._seam.config.trusted_modules)

    def version(self, name: str, version: str) -> ModelVersion:
        """One version; UnknownModel when it is not registered."""
        from mlflow.exceptions import MlflowException

        client = self._seam.client
        try:
            with translated("MLflow"):
                return _version(client.get_model_version(name, version))
        except MlflowException as error:
            if not missing(error):
                raise
            raise UnknownModel(
                f"Version {version} of {name} is not registered.",
                hint=f"ratchet ledger {name}",
            ) from error

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """All versions of a model, newest first."""
        client = self._seam.client
        query, found, token = f"name='{_quoted(name)}'", [], None
        with translated("MLflow"):
            while True:
                page = client.search_model_versions(query, max_results=PAGE, page_token=token)
                found += [_version(each) for each in page]
                token = page.token
                if not token:
                    break
        return tuple(sorted(found, key=lambda v: int(v.version), reverse=True))

    def set_tags(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Write or replace tags of one version."""
        client = self._seam.client
        with translated("MLflow"):
            for key, value in tags.items():
                client.set_model_version_tag(name, version, key, value)

    def load(self, name: str, version: str, *, modules: tuple[str, ...] = ()) -> LoadedModel:
        """The version in memory. `modules`: the user's own, whose classes it may contain.

        Raises UnknownModel, or ModelUnloadable when a file is missing, was altered since it was
        registered, or does not fit the installed libraries.
        """
        registered = self.version(name, version)
        with tempfile.TemporaryDirectory(prefix="ratchet-model-") as folder:
            files = self.download(name, version, Path(folder))
            return from_files(registered, files, (*self._seam.config.trusted_modules, *modules))

    def download(self, name: str, version: str, folder: Path) -> Path:
        """Copy the version's files into `folder` and check them against their digest.

        Raises ModelUnloadable for files that are gone or altered, RegistryUnreachable where the
        storage does not say so: it may answer later.
        """
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        registered, client = self.version(name, version), self._seam.client
        uri = self._seam.config.tracking_uri
        try:
            # `models:/...` would be looked up in the global store.
            source = client.get_model_version_download_uri(name, version)
            files = Path(
                download_artifacts(
                    artifact_uri=source, dst_path=str(folder), tracking_uri=uri, registry_uri=uri
                )
            )
        except (MlflowException, OSError) as error:
            said = f"The files of version {version} of {name} cannot be read: {first_line(error)}"
            if not _gone(error):
                raise RegistryUnreachable(
                    said, hint="check the storage of MLflow's artifacts, and who may read it"
                ) from error
            raise ModelUnloadable(
                said,
                hint=f"ratchet rollback {name}, to a version whose files are there",
            ) from error
        expected = registered.tags.get(DIGEST_TAG)
        if expected is not None and manifest_of(files).digest != expected:
            raise ModelUnloadable(
                f"The files of version {version} of {name} are not those that were registered.",
                hint=f"ratchet rollback {name}, and find out who changed them",
            )
        return files

    def _create_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        with suppress(MlflowException):
            self._seam.client.get_registered_model(name)
            return
        try:
            self._seam.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _by_key(self, name: str, key: str) -> ModelVersion | None:
        """The version registered under the key; the first, should two processes have made one."""
        found = self._seam.client.search_model_versions(
            f"name='{_quoted(name)}' and tags.`{KEY_TAG}`='{_quoted(key)}'"
        )
        return min(map(_version, found), key=lambda each: int(each.version), default=None)

    def _log(self, name: str, fitted: FittedModel, mlflow_run_id: str, key: str) -> Any:
        """Upload the model's files as a logged model of the run; one that is complete is reused."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        client = self._seam.client
        experiment = client.get_run(mlflow_run_id).info.experiment_id
        complete = client.search_logged_models(
            [experiment], filter_string=f"tags.`{KEY_TAG}` = '{_quoted(key)}'", max_results=100
        )
        for logged in complete:
            if str(logged.status) == "READY" and DIGEST_TAG in logged.tags and logged.name == name:
                return logged
        logged = client.create_logged_model(
            experiment, name=name, source_run_id=mlflow_run_id, tags={KEY_TAG: key}
        )
        with tempfile.TemporaryDirectory(prefix="ratchet-model-") as folder:
            files = Path(folder, "model")
            described = Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                model_id=logged.model_id,
                run_id=mlflow_run_id,
            )
            self._write(fitted, files, described)
            client.log_model_artifacts(logged.model_id, str(files))
            digest = manifest_of(files).digest
        client.set_logged_model_tags(logged.model_id, {DIGEST_TAG: digest})
        client.log_outputs(mlflow_run_id, models=[LoggedModelOutput(logged.model_id, step=0)])
        return client.finalize_logged_model(logged.model_id, "READY")

    def _write(self, fitted: FittedModel, files: Path, described: Any) -> None:
        trusted = (*self._seam.config.trusted_modules, *fitted.modules)
        flavors.save(fitted, files, described, trusted)
        card = Card(
            flavor=fitted.flavor,
            features=fitted.features,
            classes=class_labels(fitted),
            modules=fitted.modules,
            versions=flavors.library_versions(fitted.flavor),
            columns=fitted.columns,
        )
        Path(files, CARD_FILE).write_text(card.to_json(), encoding="utf-8")
        for extra, text in fitted.extras.items():
            path = Path(files, EXTRA_FOLDER, _inside(extra))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def from_files(registered: ModelVersion, files: Path, trusted: tuple[str, ...]) -> LoadedModel:
    """The version in memory, from its downloaded files; ModelUnloadable when they do not fit.

    `trusted`: modules, besides the known libraries, whose classes it may contain.
    """
    card = _card(registered, files)
    if DIGEST_TAG in registered.tags:
        # The files are what this installation wrote, so is what they say they contain.
        trusted = (*trusted, *card.modules)
    extras = _extras(files / EXTRA_FOLDER)
    return LoadedModel(
        model=registered.model,
        version=registered.version,
        estimator=_estimator(registered, card, files, trusted, extras),
        card=card,
        tags=registered.tags,
        extras=extras,
        bytes=sum(path.stat().st_size for path in files.rglob("*") if path.is_file()),
    )


def _version(found: Any) -> ModelVersion:
    return ModelVersion(
        model=found.name,
        version=str(found.version),
        mlflow_run_id=found.run_id or None,
        tags=dict(found.tags),
    )


def _card(registered: ModelVersion, files: Path) -> Card:
    file = files / CARD_FILE
    if not file.exists():
        raise ModelUnloadable(
            f"Version {registered.version} of {registered.model} was not stored by Ratchet: "
            "it does not say which features it takes.",
            hint=f"ratchet rollback {registered.model}, to a version that Ratchet trained",
        )
    return Card.from_json(file.read_text(encoding="utf-8"))


def _estimator(
    registered: ModelVersion,
    card: Card,
    files: Path,
    trusted: tuple[str, ...],
    extras: Mapping[str, str],
) -> Any:
    code = json.loads(extras.get(CODE_FILE, "{}"))
    strange = [name for name in code if name.partition(".")[0] not in _tops(own(trusted))]
    if strange:
        raise UnsupportedModel(
            f"The model carries the module {strange[0]}, which is not among the trusted modules.",
            hint=f"if it is yours: allowed_modules: [{strange[0].partition('.')[0]}]",
        )
    try:
        return flavors.load(card.flavor, files, trusted, code)
    except (UnsupportedModel, RegistryUnreachable, ModelUnloadable):
        raise
    except Exception as error:  # Whatever a library raises on files that it does not understand.
        raise ModelUnloadable(
            f"Version {registered.version} of {registered.model} cannot be loaded: "
            f"{first_line(error)}{_other_versions(card)}.",
            hint=f"install the versions that wrote it, or ratchet rollback {registered.model}",
        ) from error


def _tops(modules: tuple[str, ...]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def _other_versions(card: Card) -> str:
    """Which libraries are not those that wrote the model."""
    installed = flavors.library_versions(card.flavor)
    other = [
        f"{name} {wrote}, here {installed.get(name)}"
        for name, wrote in card.versions.items()
        if installed.get(name) != wrote
    ]
    return f" (written with {'; '.join(other)})" if other else ""


def _extras(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _inside(name: str) -> str:
    """The name, if it stays inside the model's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UnsupportedModel(f"{name!r} is no name for a file kept with a model.")
    return name


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _gone(error: Exception) -> bool:
    """Whether the storage says that there is no such file; what else it says may be an outage."""
    if isinstance(error, FileNotFoundError) or missing(error):
        return True
    # MLflow keeps of a storage's own errors only the text.
    return re.search(r"\b404\b|NoSuchKey|No such artifact", str(error)) is not None
