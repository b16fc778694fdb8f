"""One AWS account, seen from one region: its calls by name, with errors that say what to do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from copy import copy
from functools import cached_property
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tagboat.advice import advice
from tagboat.cloud import HINT, CloudError, pauses
from tagboat.identity import session

GLOBAL_REGION = "us-east-1"  # where CloudFront, its certificates, Route 53 and budgets are at home
_GLOBAL = frozenset({"cloudfront", "acm", "route53", "budgets", "ce", "iam"})
_ROLE_SEEN = 60.0  # seconds within which all of AWS has heard of what IAM has just made
_LET_GO = 1800.0  # seconds within which all of AWS has heard that a thing is in use no more
_ROLE_UNKNOWN = re.compile(r"assum|instance profile", re.IGNORECASE)
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})


class AwsError(CloudError):
    """AWS refused a call. `code` is AWS's own."""

    def __init__(self, message: str, code: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class Account:
    """The account that the shell's AWS settings mean. Safe to share between threads."""

    def __init__(self, region: str | None) -> None:
        """`region` is the one that things are made in; None: what the AWS settings say. Raises CloudError."""
        self.session: boto3.Session = session()
        found = region or self.session.region_name
        if found is None:
            raise CloudError("no region is set", hint="export AWS_REGION=…")
        self.region: str = found
        self._clients: dict[tuple[str, str], Any] = {}
        self._known: dict[str, Any] = {}
        self._knowing = Lock()
        self._lock = Lock()  # a boto3 session makes one client at a time
        self._config = Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 6},
            max_pool_connections=20,
        )

    @cached_property
    def id(self) -> str:
        """The account's number."""
        return str(self.call("sts", "get_caller_identity")["Account"])

    @cached_property
    def identity(self) -> str:
        """The ARN of whoever asks."""
        return str(self.call("sts", "get_caller_identity")["Arn"])

    def elsewhere(self, region: str) -> Account:
        """The same account, seen from another region."""
        other = copy(self)  # with the same session, and the same clients
        other.region = region
        return other

    def arn(self, service: str, resource: str) -> str:
        return f"arn:aws:{service}:{self.region}:{self.id}:{resource}"

    def call(self, service: str, operation: str, /, **arguments: Any) -> Any:
        """The answer of one operation. Raises AwsError, or CloudError where AWS cannot be reached."""
        try:
            return getattr(self.client(service), operation)(**arguments)
        except ClientError as error:
            raise _refused(error, service) from error
        except BotoCoreError as error:
            raise CloudError(f"{service} {operation}: {error}", hint=HINT) from error

    def call_with_role(self, service: str, operation: str, /, **arguments: Any) -> Any:
        """As `call`, again and again for a minute where AWS has not yet heard of a role that is new."""
        deadline = time.monotonic() + _ROLE_SEEN
        while True:
            try:
                return self.call(service, operation, **arguments)
            except AwsError as error:
                if not _ROLE_UNKNOWN.search(str(error)) or time.monotonic() > deadline:
                    raise
                time.sleep(2)

    def find(self, service: str, operation: str, /, *absent: str, **arguments: Any) -> Any:
        """The answer, or None where AWS answers with one of the codes `absent`."""
        try:
            return self.call(service, operation, **arguments)
        except AwsError as error:
            if error.code in absent:
                return None
            raise

    def find_when_free(
        self, service: str, operation: str, /, *absent: str, busy: str, **arguments: Any
    ) -> Any:
        """As `find`, again and again while AWS answers `busy`: what had it has let it go, and AWS learns that
        in some minutes.
        """
        deadline = time.monotonic() + _LET_GO
        while True:
            try:
                return self.find(service, operation, *absent, **arguments)
            except AwsError as error:
                if error.code != busy or time.monotonic() > deadline:
                    raise
                time.sleep(5)

    def pages(self, service: str, operation: str, /, **arguments: Any) -> Iterator[Any]:
        """The answers of an operation that has several pages."""
        try:
            yield from self.client(service).get_paginator(operation).paginate(**arguments)
        except ClientError as error:
            raise _refused(error, service) from error
        except BotoCoreError as error:
            raise CloudError(f"{service} {operation}: {error}", hint=HINT) from error

    def once(self, what: str, ask: Callable[[], Any]) -> Any:
        """What `ask` gave the first time: for what does not change while a command runs."""
        with self._knowing:
            if what not in self._known:
                self._known[what] = ask()
            return self._known[what]

    def client(self, service: str) -> Any:
        region = GLOBAL_REGION if service in _GLOBAL else self.region
        with self._lock:
            client = self._clients.get((service, region))
            if client is None:
                try:
                    client = self.session.client(service, region_name=region, config=self._config)  # type: ignore[call-overload]
                except (BotoCoreError, ValueError) as error:
                    raise CloudError(f"no {service} client: {error}", hint=HINT) from error
                self._clients[service, region] = client
        return client


def _refused(error: ClientError, service: str) -> AwsError:
    detail = error.response["Error"]
    code = str(detail.get("Code"))
    message = f"{service} {error.operation_name}: {code}: {detail.get('Message')}"
    return AwsError(message, code, hint=advice(error, service))


def wait_until(done: Callable[[], bool], what: str, *, timeout: float = 900.0) -> None:
    """Return once `done` says so. Raises CloudError, with `what` in it, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    for pause in pauses():
        if done():
            return
        if time.monotonic() > deadline:
            raise CloudError(f"{what} after {timeout:.0f} s", hint="run the same command again to go on")
        time.sleep(pause)
