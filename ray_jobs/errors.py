"""What can go wrong between Ratchet and a Ray cluster.

    RayJobError
    ├── ArtifactError         the artifact store cannot be read or written
    ├── RayUnreachable        no Ray answers at the configured address
    ├── NotEnoughResources    no node of the cluster can ever run what was asked for
    ├── BadEntrypoint         a job names a function that cannot be imported
    └── JobNotKnown           neither Ray nor the artifact store has heard of a job

Each carries `hint` (the next command or action, one line) and `permanent` (True: a retry
cannot help), which the flows read without knowing these classes.
"""


class RayJobError(Exception):
    """Base of everything that `ray_jobs` raises on purpose."""

    permanent: bool = False

    def __init__(
        self, message: str, *, hint: str | None = None, permanent: bool | None = None
    ) -> None:
        super().__init__(message)
        self.hint = hint
        if permanent is not None:
            self.permanent = permanent


class ArtifactError(RayJobError):
    """The artifact store cannot be read or written."""


class RayUnreachable(RayJobError):
    """No Ray answers at the configured address."""


class NotEnoughResources(RayJobError):
    """No node of the cluster can ever run what was asked for; it would pend for ever."""

    permanent = True


class BadEntrypoint(RayJobError):
    """A job names a function that cannot be imported."""

    permanent = True


class JobNotKnown(RayJobError):
    """Neither Ray nor the artifact store has heard of a job."""

    permanent = True
