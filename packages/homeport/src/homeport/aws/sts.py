"""STS (API version 2011-06-15): who one is, and the taking of a role by an identity token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from homeport.aws.errors import ApiError
from homeport.credentials import CALLER, Principal
from homeport.jwks import IssuerError, Keys
from homeport.oidc import ExpiredTokenError, Identity, TokenError, verify
from homeport.place import ACCOUNT
from homeport.roles import NoSuchEntityError, Role, Roles
from homeport.sessions import LONGEST, SHORTEST, Sessions

# What a session keeps of its token: where the job comes from, and who has started it.
ORIGIN: Final = (
    "repository", "repository_id", "repository_owner_id", "ref", "ref_type", "sha", "environment",
    "workflow_ref", "run_id", "run_attempt", "actor",
    "project_path", "project_id", "namespace_id", "pipeline_id", "job_id", "user_login",
)  # fmt: skip
_LONGEST: Final = 200  # characters of a claim that a session keeps


class Sts:
    """One method an operation, named as boto3 names it."""

    def __init__(
        self,
        roles: Roles,
        sessions: Sessions,
        keys: Keys,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._roles = roles
        self._sessions = sessions
        self._keys = keys
        self._clock = clock

    async def get_caller_identity(self) -> Mapping[str, Any]:
        session = CALLER.get().session  # a call that is not signed does not get here
        if session is None:
            return {"Arn": f"arn:aws:iam::{ACCOUNT}:root", "UserId": ACCOUNT, "Account": ACCOUNT}
        return {"Arn": session.arn, "UserId": f"{session.role_id}:{session.name}", "Account": ACCOUNT}

    async def assume_role_with_web_identity(self, **request: Any) -> Mapping[str, Any]:
        for member in ("Policy", "PolicyArns", "ProviderId"):
            if request.get(member):
                raise ApiError("ValidationError", f"{member}: homeport has no use for it")
        lifetime = timedelta(seconds=request.get("DurationSeconds", LONGEST.total_seconds()))
        if not SHORTEST <= lifetime <= LONGEST:
            message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            raise ApiError("ValidationError", message)
        now = self._clock()
        identity = await self._identity(request["WebIdentityToken"], now)
        role = self._role(request["RoleArn"], identity)
        if not await self._roles.use(identity.id, identity.ends_at):
            raise ApiError("InvalidIdentityToken", "the token has been used already")
        given = self._sessions.begin(
            role=role.name,
            role_id=role.id,
            name=request["RoleSessionName"],
            subject=identity.subject,
            origin={
                name: identity.claims[name][:_LONGEST] for name in ("iss", *ORIGIN) if name in identity.claims
            },
            now=now,
            lifetime=lifetime,
        )
        CALLER.set(Principal(session=given.session))
        return {
            "Credentials": {
                "AccessKeyId": given.session.key,
                "SecretAccessKey": given.secret,
                "SessionToken": given.token,
                "Expiration": given.session.ends_at,
            },
            "SubjectFromWebIdentityToken": identity.subject,
            "AssumedRoleUser": {
                "AssumedRoleId": f"{role.id}:{given.session.name}",
                "Arn": given.session.arn,
            },
            "Provider": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{identity.issuer.partition('://')[2]}",
            "Audience": identity.audience,
        }

    async def _identity(self, token: str, now: datetime) -> Identity:
        try:
            return await verify(token, self._roles.audiences, self._keys, now)
        except ExpiredTokenError as error:
            raise ApiError("ExpiredTokenException", str(error)) from error
        except TokenError as error:
            raise ApiError("InvalidIdentityToken", str(error)) from error
        except IssuerError as error:
            raise ApiError("IDPCommunicationError", str(error)) from error

    def _role(self, arn: str, identity: Identity) -> Role:
        """The role, if it trusts that identity. Of one that does not, it says which claim it minds, but not
        what it wants; of one that is not there, that nobody's word gets it.
        """
        try:
            role = self._roles.role(arn.removeprefix(f"arn:aws:iam::{ACCOUNT}:role/"))
        except NoSuchEntityError:
            raise _denied("no such role") from None
        issuer = identity.issuer.partition("://")[2]
        reasons = []
        for way in self._roles.trusts(role):
            if way.issuer == issuer:
                claim = way.objection(identity.claims)
                if claim is None:
                    return role
                value = identity.claims.get(claim)
                reasons.append(f"its {claim} is {value[:200]!r}" if value else f"it has no {claim}")
        raise _denied("; ".join(reasons) or "the role trusts another issuer")


def _denied(reason: str) -> ApiError:
    message = f"Not authorized to perform sts:AssumeRoleWithWebIdentity: {reason}"
    return ApiError("AccessDenied", message, 403)
