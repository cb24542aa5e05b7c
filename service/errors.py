"""The errors that the service raises on purpose; ``api/problems.py`` has their HTTP status."""

from __future__ import annotations

import errno

from chainrule.errors import ChainruleError, LocatedError

__all__ = [
    "AdmissionError",
    "ConflictError",
    "CorruptError",
    "ExhaustedError",
    "IncompatibleError",
    "NotFoundError",
    "ReusedKeyError",
    "ServiceError",
    "StorageFullError",
    "TooLargeError",
    "UnavailableError",
    "UnreadyError",
    "exhausted",
    "no_space",
]


class ServiceError(ChainruleError):
    """The root of the service's own errors."""


class NotFoundError(ServiceError):
    """No such thing, or none that this tenant may know of: the two read alike."""

    def __init__(self, kind: str, thing_id: str) -> None:
        super().__init__(f"no {kind} {thing_id}")


class ConflictError(ServiceError):
    """The thing is in a state that does not allow this."""


class UnreadyError(ConflictError):
    """The thing is not ready yet, and will soon be, or have failed."""


class ReusedKeyError(ServiceError):
    """A name that a client has given to another request before."""


class TooLargeError(ServiceError):
    """More bytes than the service takes."""


class AdmissionError(LocatedError, ServiceError):
    """A sound request that needs more memory or steps than one job may have."""


class CorruptError(ServiceError):
    """Stored bytes whose hash is not the one recorded when they were written."""


class IncompatibleError(ServiceError):
    """A library, a file system or a database schema that this version cannot start with."""


class UnavailableError(ServiceError):
    """The database did not answer in time; the same call may succeed later."""


class StorageFullError(UnavailableError):
    """The disk takes nothing more, which may pass; what is there can be read."""

    def __init__(self) -> None:
        super().__init__("the disk is full, or takes nothing more; what is stored can be read")


class ExhaustedError(UnavailableError):
    """There is no descriptor or process to be had, which may pass."""

    def __init__(self) -> None:
        super().__init__("the service can open no further file just now; try again")


def no_space(error: BaseException) -> bool:
    """Say whether the system had no room for a file: a full disk, a quota, a limit on its size."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, OSError) and error.errno in full


def exhausted(error: BaseException) -> bool:
    """Say whether the system had no descriptor, process or memory to give, which may pass."""
    scarce = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
    return isinstance(error, OSError) and error.errno in scarce
