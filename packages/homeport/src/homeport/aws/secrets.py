"""Secrets Manager (API version 2017-10-17), as far as to say whether a secret is there.

A value leaves homeport to an instance that is to have it, and to nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.aws.errors import ApiError
from homeport.command import off_loop
from homeport.place import arn
from homeport.vault import SecretError, SecretReference, Vault


class Secrets:
    """One method an operation, named as boto3 names it."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def describe_secret(self, **request: Any) -> Mapping[str, Any]:
        """By name, by the ARN of a secret of AWS's, or by the name of a parameter of SSM's."""
        try:
            name = SecretReference.parse(request["SecretId"]).name
        except SecretError as error:
            raise ApiError("InvalidParameterException", str(error)) from error
        found = await off_loop(self._vault.find, name)
        if found is None:
            message = f"there is no secret {name}; `homeport secret set {name}` makes it"
            raise ApiError("ResourceNotFoundException", message)
        kept, changed = found
        return {"ARN": arn("secretsmanager", f"secret:{kept}"), "Name": kept, "LastChangedDate": changed}
