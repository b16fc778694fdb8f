"""What can go wrong, as one small hierarchy: every message says what, where, and what to do."""

from __future__ import annotations

__all__ = [
    "BucketlogError",
    "ConflictError",
    "EdnError",
    "FormatError",
    "QueryError",
    "StoreError",
    "TransactionError",
    "UncertainError",
    "UniqueError",
    "UnsafeStoreError",
    "brief",
]


class BucketlogError(Exception):
    """Base of every error that bucketlog raises on purpose."""


class EdnError(BucketlogError, ValueError):
    """Text is not EDN; the message gives line and column."""


class TransactionError(BucketlogError):
    """Transaction data cannot become datoms; nothing was written."""


class ConflictError(TransactionError):
    """`:db/cas` found another value than the expected one; nothing was written."""


class UniqueError(TransactionError):
    """A value of a unique attribute already belongs to another entity; nothing was written."""


class QueryError(BucketlogError):
    """A query or a pull pattern is wrong, or its inputs do not fit; the message quotes the clause."""


class StoreError(BucketlogError):
    """The object store failed or refused."""


class UnsafeStoreError(StoreError):
    """The store does not honour create-only writes, so concurrent commits could overwrite each other."""


class UncertainError(StoreError):
    """A commit was sent but its outcome could not be learned: it may or may not be in the log."""


class FormatError(StoreError):
    """An object of the bucket is corrupt, or was written by a newer bucketlog; the message names it."""


def brief(error: BaseException | None) -> str:
    """The kind and the first line of an error: obstore appends its internals below."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
