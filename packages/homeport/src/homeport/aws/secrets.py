"""Secrets Manager (API version 2017-10-17), as far as to say whether a secret is there, and to keep one.

A value leaves homeport to an instance that is to have it, and to nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from homeport.aws.errors import ApiError
from homeport.command import off_loop
from homeport.place import arn
from homeport.vault import SecretError, SecretReference, Vault

T = TypeVar("T")


class Secrets:
    """One method an operation, named as boto3 names it. What names a secret is its name, the ARN of one of
    AWS's, or the name of a parameter of SSM's.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def describe_secret(self, **request: Any) -> Mapping[str, Any]:
        kept, changed = await self._there(request["SecretId"])
        return {**_named(kept), "LastChangedDate": changed}

    async def create_secret(self, **request: Any) -> Mapping[str, Any]:
        name = _valid(lambda: SecretReference.parse(request["Name"]).name)
        if await off_loop(self._vault.find, name) is not None:
            raise ApiError("ResourceExistsException", f"there is a secret {name}")
        return await self._keep(name, request)

    async def put_secret_value(self, **request: Any) -> Mapping[str, Any]:
        """Instances get the value as they start."""
        kept, _ = await self._there(request["SecretId"])
        return await self._keep(kept, request)

    async def _there(self, named: str) -> tuple[str, datetime]:
        name = _valid(lambda: SecretReference.parse(named).name)
        found = await off_loop(self._vault.find, name)
        if found is None:
            message = f"there is no secret {name}; `homeport secret set {name}` makes it"
            raise ApiError("ResourceNotFoundException", message)
        return found

    async def _keep(self, name: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        value = request.get("SecretString")
        if value is None:
            raise ApiError("InvalidParameterException", f"{name}: a value is text, in SecretString")
        await off_loop(_valid, lambda: self._vault.set(name, value))
        return _named(name)


def _named(name: str) -> dict[str, Any]:
    return {"ARN": arn("secretsmanager", f"secret:{name}"), "Name": name}


def _valid(made: Callable[[], T]) -> T:
    """Raises ApiError for what no secret can be."""
    try:
        return made()
    except SecretError as error:
        raise ApiError("InvalidParameterException", str(error)) from error
