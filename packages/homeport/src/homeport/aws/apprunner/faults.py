"""The errors of App Runner's operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from homeport.aws.errors import ApiError
from homeport.model import NoSuchServiceError, ServiceBusyError
from homeport.resources import ResourceExistsError

INVALID = "InvalidRequestException"


def invalid(message: str) -> ApiError:
    """The request makes no sense, or not here."""
    return ApiError(INVALID, message)


def missing(message: str) -> ApiError:
    """What it is about is not there."""
    return ApiError("ResourceNotFoundException", message)


def wrong_state(message: str) -> ApiError:
    """What it is about cannot do that now."""
    return ApiError("InvalidStateException", message)


def refused(error: NoSuchServiceError | ServiceBusyError) -> ApiError:
    """What the controller says of a service that is not there, or is busy."""
    return missing(str(error)) if isinstance(error, NoSuchServiceError) else wrong_state(str(error))


@contextmanager
def once() -> Iterator[None]:
    """A name that is taken is a request that makes no sense."""
    try:
        yield
    except ResourceExistsError as error:
        raise invalid(str(error)) from error
