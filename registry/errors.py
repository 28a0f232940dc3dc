"""Every error of this package.

RegistryError
├── RegistryUnreachable    MLflow, the ledger or a lock cannot be reached now; a retry may help
├── GateError              a comparison or a gate that makes no sense
│   └── UnknownMetric      a metric that has no such name
├── OtherMlflow            MLflow's database is of another version than the MLflow here
├── UnknownModel           a model or a version that is not registered
├── InvalidModelName       a name that MLflow or a file system would refuse later
├── TiedElsewhere          a model that another project trains
├── UnsupportedModel       a fitted model that cannot be stored safely
├── ModelUnloadable        a stored model that cannot be brought back
│   └── ChampionUnloadable the same, for the model that is live
├── MissingFeature         rows that lack what a model was trained on
├── UnfitColumn            a column whose values no model, or not this one, can take
├── PromotionRefused       a promotion, rollback or adoption that the rules do not allow
│   ├── StaleEpoch         another promotion came first
│   ├── OutsiderChange     somebody else moved the champion alias
│   ├── NothingWaits       no verdict on this version waits for approval
│   ├── ApprovalExpired    the verdict waited for approval, and its time is over
│   └── AlreadyAnswered    somebody has approved or rejected this version
├── LedgerBroken           the ledger's history does not fit together
└── ExportFailed           the champion's files could not be copied out
"""


class RegistryError(Exception):
    """Something about models could not be done; `hint` is the next command or action."""

    permanent = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class RegistryUnreachable(RegistryError):
    """MLflow, the ledger or one of their locks does not answer; a retry may help."""


class OtherMlflow(RegistryError):
    """MLflow's database was written by another version than the one installed here."""

    permanent = True


class GateError(RegistryError):
    """The comparison or the gate's configuration makes no sense; a retry cannot help."""

    permanent = True


class UnknownMetric(GateError):
    """No metric has this name."""


class UnknownModel(RegistryError):
    """No such model, or no such version of it, is registered."""

    permanent = True


class InvalidModelName(RegistryError):
    """MLflow or a file system would refuse this name later, after a training."""

    permanent = True


class TiedElsewhere(RegistryError):
    """Another project trains a model of this name in the same MLflow."""

    permanent = True


class UnsupportedModel(RegistryError):
    """The fitted model holds types that are not allowed in a stored model."""

    permanent = True


class ModelUnloadable(RegistryError):
    """A registered model cannot be brought back: a file is missing, altered or too new."""

    permanent = True


class ChampionUnloadable(ModelUnloadable):
    """The model that is live cannot be brought back, so nothing can be compared with it."""


class MissingFeature(RegistryError):
    """The rows lack a column that the model was trained on."""

    permanent = True


class UnfitColumn(RegistryError):
    """A column's type, or some of its values, cannot be given to a model."""

    permanent = True


class PromotionRefused(RegistryError):
    """The rules do not allow this change of the champion."""

    permanent = True


class StaleEpoch(PromotionRefused):
    """The champion changed after this verdict was reached: another promotion came first."""


class OutsiderChange(PromotionRefused):
    """The champion alias was moved by somebody else, and nobody has acknowledged it yet."""


class NothingWaits(PromotionRefused):
    """No verdict on this model, or on this version of it, waits for approval."""


class ApprovalExpired(PromotionRefused):
    """The verdict waited for approval, and nobody answered in time."""


class AlreadyAnswered(PromotionRefused):
    """Somebody has approved or rejected this version already."""


class LedgerBroken(RegistryError):
    """The ledger's history does not fit together: an entry was altered or removed."""

    permanent = True


class ExportFailed(RegistryError):
    """The champion's files could not be copied to the export location; a retry may help."""


def first_line(error: Exception) -> str:
    """What it says first; what it says last, when the first line is a heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines or [type(error).__name__]
    return said[-1 if said[0].endswith(":") else 0].rstrip(".")
