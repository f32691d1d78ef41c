"""Why a rotation step did not do its work. Each is raised out of the function: Secrets Manager then retries."""

from __future__ import annotations


class RotationError(Exception):
    """The common base; the message is fit for a log and holds no secret."""


class RotationRequestError(RotationError):
    """The event is no rotation request, or is about a secret that is not ours."""


class SettingsError(RotationError):
    """An environment variable of the function is missing or wrong."""


class RotationDeferredError(RotationError):
    """The step waits for a cutover, or for another controller of the same accounts; nothing was changed."""


class VersionStageError(RotationError):
    """The stages of the secret's versions do not allow this step."""


class AccountMismatchError(RotationError):
    """The secret and the database do not fit together."""


class ReplicationTaskError(RotationError):
    """A replication task could not be restarted; what is still to do is recorded."""
