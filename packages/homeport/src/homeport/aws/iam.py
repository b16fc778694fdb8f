"""IAM (API version 2010-05-08), as much of it as is needed for jobs of elsewhere to take a role."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

from homeport.aws.errors import ApiError
from homeport.jwks import is_issuer
from homeport.policy import PolicyError
from homeport.roles import (
    EntityExistsError,
    EntityInUseError,
    NoSuchEntityError,
    Provider,
    Role,
    Roles,
    RolesError,
)
from homeport.sessions import LONGEST

_CODES: Final = {
    EntityExistsError: ("EntityAlreadyExists", 409),
    EntityInUseError: ("DeleteConflict", 409),
    NoSuchEntityError: ("NoSuchEntity", 404),
}
_SESSION: Final = int(LONGEST.total_seconds())
_MOST_AUDIENCES: Final = 100
T = TypeVar("T")


class Iam:
    """One method an operation, named as boto3 names it."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles

    async def create_open_id_connect_provider(self, **request: Any) -> Mapping[str, Any]:
        _refuse(request, "Tags")
        if request.get("ThumbprintList"):
            raise _invalid("ThumbprintList: an issuer's certificate is checked by this machine's authorities")
        url = request["Url"]
        if not is_issuer(url):
            raise _invalid(f"Url: {url!r} is not https://HOST[/PATH], nor http:// on this machine")
        audiences = tuple(dict.fromkeys(request.get("ClientIDList", ())))
        provider = await _done(self._roles.add_provider(url, audiences))
        return {"OpenIDConnectProviderArn": provider.arn}

    async def get_open_id_connect_provider(self, **request: Any) -> Mapping[str, Any]:
        provider = self._provider(request)
        return {
            "Url": provider.url,
            "ClientIDList": provider.audiences,
            "ThumbprintList": [],
            "CreateDate": provider.created_at,
        }

    async def list_open_id_connect_providers(self, **_request: Any) -> Mapping[str, Any]:
        return {"OpenIDConnectProviderList": [{"Arn": one.arn} for one in self._roles.providers()]}

    async def add_client_id_to_open_id_connect_provider(self, **request: Any) -> Mapping[str, Any]:
        provider = self._provider(request)
        audiences = tuple(dict.fromkeys((*provider.audiences, request["ClientID"])))
        if len(audiences) > _MOST_AUDIENCES:
            raise ApiError("LimitExceeded", f"more than {_MOST_AUDIENCES} audiences", 409)
        await _done(self._roles.change_provider(provider.arn, audiences))
        return {}

    async def remove_client_id_from_open_id_connect_provider(self, **request: Any) -> Mapping[str, Any]:
        provider = self._provider(request)
        audiences = tuple(one for one in provider.audiences if one != request["ClientID"])
        await _done(self._roles.change_provider(provider.arn, audiences))
        return {}

    async def delete_open_id_connect_provider(self, **request: Any) -> Mapping[str, Any]:
        await _done(self._roles.remove_provider(request["OpenIDConnectProviderArn"]))
        return {}

    async def create_role(self, **request: Any) -> Mapping[str, Any]:
        _refuse(request, "Tags", "PermissionsBoundary")
        if request.get("Path", "/") != "/":
            raise _invalid("Path: homeport's roles have none")
        _check_duration(request)
        role = await _done(
            self._roles.add_role(
                request["RoleName"], request["AssumeRolePolicyDocument"], request.get("Description", "")
            )
        )
        return {"Role": _shown(role)}

    async def get_role(self, **request: Any) -> Mapping[str, Any]:
        return {"Role": _shown(self._role(request))}

    async def list_roles(self, **request: Any) -> Mapping[str, Any]:
        """All on one page."""
        _refuse(request, "PathPrefix")
        return {"Roles": [_shown(one) for one in self._roles.roles()], "IsTruncated": False}

    async def update_assume_role_policy(self, **request: Any) -> Mapping[str, Any]:
        await _done(self._roles.change_trust(request["RoleName"], request["PolicyDocument"]))
        return {}

    async def delete_role(self, **request: Any) -> Mapping[str, Any]:
        await _done(self._roles.remove_role(request["RoleName"]))
        return {}

    async def put_role_policy(self, **request: Any) -> Mapping[str, Any]:
        await _done(
            self._roles.put_policy(request["RoleName"], request["PolicyName"], request["PolicyDocument"])
        )
        return {}

    async def get_role_policy(self, **request: Any) -> Mapping[str, Any]:
        role, name = self._role(request), request["PolicyName"]
        if name not in role.policies:
            raise ApiError("NoSuchEntity", f"the role {role.name} has no policy {name}", 404)
        document = quote(role.policies[name], safe="")
        return {"RoleName": role.name, "PolicyName": name, "PolicyDocument": document}

    async def list_role_policies(self, **request: Any) -> Mapping[str, Any]:
        return {"PolicyNames": sorted(self._role(request).policies), "IsTruncated": False}

    async def list_attached_role_policies(self, **request: Any) -> Mapping[str, Any]:
        """Policies that stand by themselves are none of homeport's."""
        self._role(request)
        return {"AttachedPolicies": [], "IsTruncated": False}

    async def delete_role_policy(self, **request: Any) -> Mapping[str, Any]:
        await _done(self._roles.remove_policy(request["RoleName"], request["PolicyName"]))
        return {}

    def _role(self, request: Mapping[str, Any]) -> Role:
        try:
            return self._roles.role(request["RoleName"])
        except NoSuchEntityError as error:
            raise _refused(error) from error

    def _provider(self, request: Mapping[str, Any]) -> Provider:
        try:
            return self._roles.provider(request["OpenIDConnectProviderArn"])
        except NoSuchEntityError as error:
            raise _refused(error) from error


async def _done(change: Awaitable[T]) -> T:
    try:
        return await change
    except PolicyError as error:
        raise ApiError("MalformedPolicyDocument", str(error)) from error
    except RolesError as error:
        raise _refused(error) from error


def _refused(error: RolesError) -> ApiError:
    code, status = _CODES[type(error)]
    return ApiError(code, str(error), status)


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidInput", message)


def _refuse(request: Mapping[str, Any], *members: str) -> None:
    for member in members:
        if request.get(member):
            raise _invalid(f"{member}: homeport has none")


def _check_duration(request: Mapping[str, Any]) -> None:
    if request.get("MaxSessionDuration", _SESSION) != _SESSION:
        raise _invalid(f"MaxSessionDuration: a session of homeport's lasts {_SESSION} s at most")


def _shown(role: Role) -> dict[str, Any]:
    return {
        "Path": "/",
        "RoleName": role.name,
        "RoleId": role.id,
        "Arn": role.arn,
        "CreateDate": role.created_at,
        "AssumeRolePolicyDocument": quote(role.trust, safe=""),
        "Description": role.description or None,
        "MaxSessionDuration": _SESSION,
    }
