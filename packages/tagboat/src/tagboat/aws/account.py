"""One AWS account, seen from one region: its calls by name, with errors that say what to do."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from copy import copy
from functools import cached_property
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.httpsession import URLLib3Session
from botocore.parsers import ResponseParserError

from tagboat.advice import advice, code_of, failure, said
from tagboat.aws.resource import Port
from tagboat.cloud import HINT, CloudError, pauses
from tagboat.identity import session

GLOBAL_REGION = "us-east-1"  # where CloudFront, its certificates, Route 53 and budgets are at home
_GLOBAL = frozenset({"cloudfront", "acm", "route53", "budgets", "ce", "iam"})
_ROLE_SEEN = 60.0  # seconds within which all of AWS has heard of what IAM has just made
_LET_GO = 1800.0  # seconds within which all of AWS has heard that a thing is in use no more
# A role, or who may read the images of a repository: of neither Lambda hears at once.
_ROLE_UNKNOWN = re.compile(r"assum|instance profile|permission to access the ECR image", re.IGNORECASE)
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_PORT_REGION = "local-1"  # where every homeport says it is
_STARTING = 900.0  # seconds within which a machine that is new has installed its homeport


class AwsError(CloudError):
    """AWS refused a call. `code` is AWS's own."""

    def __init__(self, message: str, code: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class SilentError(CloudError):
    """Nobody answers there."""


class Account:
    """The account that the shell's AWS settings mean. Safe to share between threads."""

    def __init__(
        self,
        region: str | None,
        *,
        endpoint: str | None = None,
        session_of_another: boto3.Session | None = None,
    ) -> None:
        """`region` is the one that things are made in; None: what the AWS settings say. An `endpoint` is that
        of a homeport, with the session of its owner. Raises CloudError.
        """
        self.session: boto3.Session = session_of_another or session()
        self.endpoint = endpoint
        found = region or self.session.region_name
        if found is None:
            raise CloudError("no region is set", hint="export AWS_REGION=…")
        self.region: str = found
        self._clients: dict[tuple[str, str], Any] = {}
        self._known: dict[str, Any] = {}
        self._ports: dict[str, Account] = {}
        self._knowing = Lock()
        self._lock = Lock()  # a boto3 session makes one client at a time
        self._config = Config(
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "max_attempts": 6 if endpoint is None else 3},
            max_pool_connections=20,
            ignore_configured_endpoint_urls=session_of_another is not None,  # type: ignore[call-arg]
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
        except (NoConnectionError, HTTPClientError) as error:
            raise SilentError(f"{service} {operation}: {error}", hint=HINT) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise CloudError(f"{service} {operation}: {failure(error)}", hint=HINT) from error

    def on(self, port: Port) -> Account | None:
        """The homeport as an account of its own; None where its key is not there yet. Asks nothing of it."""

        def owner() -> Account | None:
            there = self.find(
                "ssm", "get_parameter", "ParameterNotFound", Name=port.parameter, WithDecryption=True
            )
            if there is None:
                return None
            key = json.loads(there["Parameter"]["Value"])
            theirs = boto3.Session(
                aws_access_key_id=key["access_key_id"],
                aws_secret_access_key=key["secret_access_key"],
                region_name=_PORT_REGION,
            )
            return Account(_PORT_REGION, endpoint=port.url, session_of_another=theirs)

        found = self._ports.get(port.url) or owner()
        if found is not None:
            self._ports[port.url] = found
        return found

    def wait_for(self, port: Port, progress: Callable[[str], None]) -> None:
        """Return once the homeport answers. Raises SilentError with what to do where it does not."""
        deadline = time.monotonic() + _STARTING
        told = False
        while True:
            account = self.on(port)
            try:
                if account is not None:
                    account.own_call("GET", "/_homeport/version")
                    return
                problem = f"its key, the parameter {port.parameter}, is not there"
            except SilentError as error:
                problem = str(error)
            if time.monotonic() > deadline:
                raise SilentError(
                    f"{port.url} does not answer: {problem}",
                    hint="/var/log/cloud-init-output.log on the machine, and the name's record, say why",
                )
            if not told:
                progress(f"waiting for homeport at {port.url}")
                told = True
            time.sleep(2)

    def own_call(self, method: str, target: str, document: Any = None) -> Any:
        """The answer to a call of homeport's own, which AWS has no word for. Raises AwsError, SilentError."""
        endpoint = self.client("sts").meta.endpoint_url
        body = b"" if document is None else json.dumps(document).encode()
        request = AWSRequest(method, f"{endpoint}{target}", data=body)
        owner = self.session.get_credentials()
        if owner is None:
            raise CloudError("there are no credentials", hint=HINT)
        SigV4Auth(owner, "homeport", self.region).add_auth(request)
        verify = self.session._session.get_config_variable("ca_bundle") or True
        try:
            answer = URLLib3Session(verify=verify, timeout=30).send(request.prepare())
        except (NoConnectionError, HTTPClientError) as error:
            raise SilentError(f"{urlsplit(endpoint).netloc}: {error}") from error
        if answer.status_code in (502, 503, 504):  # its edge answers in its place
            raise SilentError(f"{urlsplit(endpoint).netloc}: {answer.status_code}")
        try:
            said = json.loads(answer.text)
        except ValueError:
            said = {}
        if answer.status_code >= 400 or not said:
            message = said.get("message") or "it knows no such call: its version is too old"
            raise AwsError(f"{method} {target}: {message}", str(answer.status_code))
        return said

    def call_with_role(self, service: str, operation: str, /, **arguments: Any) -> Any:
        """As `call`, again and again for a minute where AWS has not yet heard of a new role or right."""
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
        except (BotoCoreError, ResponseParserError) as error:
            raise CloudError(f"{service} {operation}: {failure(error)}", hint=HINT) from error

    def once(self, what: str, ask: Callable[[], Any]) -> Any:
        """What `ask` gave the first time: for what does not change while a command runs."""
        with self._knowing:
            if what not in self._known:
                self._known[what] = ask()
            return self._known[what]

    def client(self, service: str) -> Any:
        region = GLOBAL_REGION if service in _GLOBAL and self.endpoint is None else self.region
        with self._lock:
            client = self._clients.get((service, region))
            if client is None:
                try:
                    client = self.session.client(  # type: ignore[call-overload]
                        service, region_name=region, endpoint_url=self.endpoint, config=self._config
                    )
                except (BotoCoreError, ValueError) as error:
                    raise CloudError(f"no {service} client: {error}", hint=HINT) from error
                self._clients[service, region] = client
        return client


def _refused(error: ClientError, service: str) -> AwsError:
    message = f"{service} {error.operation_name}: {said(error)}"
    return AwsError(message, code_of(error), hint=advice(error, service))


def wait_until(done: Callable[[], bool], what: str, *, timeout: float = 900.0) -> None:
    """Return once `done` says so. Raises CloudError, with `what` in it, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    for pause in pauses():
        if done():
            return
        if time.monotonic() > deadline:
            raise CloudError(f"{what} after {timeout:.0f} s", hint="run the same command again to go on")
        time.sleep(pause)
