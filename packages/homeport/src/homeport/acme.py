"""Certificates from an authority that speaks ACME (RFC 8555), by HTTP-01: whoever answers on port 80 of a
name for the account's key has it.

The edge answers by itself, for each challenge's answer is its token and the account key's thumbprint
(section 8.1). The account is its key: whoever has that is known again, so nothing else is kept.
"""

from __future__ import annotations

import ssl
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from homeport.authority import key_pem
from homeport.disk import write
from homeport.errors import CertificateError

if TYPE_CHECKING:
    from acme.client import ClientV2
    from acme.messages import AuthorizationResource, RegistrationResource

# ruff: noqa: PLC0415  acme brings requests along: only who orders a certificate pays for them

_PATIENCE: Final = 90.0  # seconds that an order may take
_FIRST_POLL: Final = 0.1  # seconds; each pause is twice the one before
_LONGEST_POLL: Final = 2.0
_TIMEOUT: Final = 30  # seconds of one request
_AGENT: Final = "homeport"


class Acme:
    """An account with the authority whose directory is at `directory`; its key is made in `folder` on first
    use. Using it is to agree to the authority's terms of service.
    """

    def __init__(self, directory: str, folder: Path) -> None:
        self.directory = directory
        self._key = _account_key(folder / "account-key.pem")
        self._account: RegistrationResource | None = None
        self._registering = threading.Lock()

    @property
    def thumbprint(self) -> str:
        """Of the account's key (RFC 7638), in base64url."""
        from josepy.b64 import b64encode
        from josepy.jwk import JWKEC

        return b64encode(JWKEC(key=self._key).thumbprint()).decode()

    def issue(self, name: str) -> bytes:
        """The certificate with its chain and its key, PEM. Blocks, until 90 s are over at the latest.

        Raises CertificateError with what the authority said.
        """
        import requests
        from acme import errors, messages

        try:
            return self._issue(name)
        except messages.Error as error:
            if error.code == "accountDoesNotExist":  # the next try makes it anew
                self._account = None
            raise CertificateError(f"{self.directory}: {error.detail or error.typ}") from error
        except errors.TimeoutError:
            raise CertificateError(f"{self.directory} has not decided within {_PATIENCE:.0f} s") from None
        except (errors.Error, requests.RequestException, KeyError, ValueError) as error:
            raise CertificateError(f"{self.directory}: {error}") from error

    def _issue(self, name: str) -> bytes:
        from acme import crypto_util

        deadline = datetime.now() + timedelta(seconds=_PATIENCE)  # noqa: DTZ005 - as acme has it
        client = self._client()
        key = key_pem(ec.generate_private_key(ec.SECP256R1()))
        order = client.new_order(crypto_util.make_csr(key, [name]))
        for authorization in order.authorizations:
            _prove(client, authorization, name)
        order = client.finalize_order(order, deadline)
        return order.fullchain_pem.encode() + key

    def _client(self) -> ClientV2:
        """Orders run side by side: each has a connection and nonces of its own."""
        from acme import errors, messages
        from acme.client import ClientNetwork, ClientV2
        from josepy.jwa import ES256
        from josepy.jwk import JWKEC

        key = JWKEC(key=self._key)
        net = ClientNetwork(key, alg=ES256, user_agent=_AGENT, timeout=_TIMEOUT)
        paths = ssl.get_default_verify_paths()  # what the machine trusts, or SSL_CERT_FILE
        if paths.cafile is not None:
            net.verify_ssl = paths.cafile  # type: ignore[assignment]  # requests takes a path too
        client = ClientV2(ClientV2.get_directory(self.directory, net), net)
        with self._registering:
            if self._account is None:
                request = messages.NewRegistration.from_data(terms_of_service_agreed=True)
                try:
                    self._account = client.new_account(request)
                except errors.ConflictError as known:
                    body = messages.Registration()
                    self._account = messages.RegistrationResource(uri=known.location, body=body)
        net.account = self._account
        return client


def _prove(client: ClientV2, authorization: AuthorizationResource, name: str) -> None:
    """Have the authority look, and wait for what it finds. Raises CertificateError."""
    from acme import challenges, messages

    if authorization.body.status == messages.STATUS_PENDING:
        offered = [one for one in authorization.body.challenges if isinstance(one.chall, challenges.HTTP01)]
        if not offered:
            raise CertificateError(f"the authority offers no proof over HTTP for {name}")
        client.answer_challenge(offered[0], offered[0].response(client.net.key))
    end, pause = time.monotonic() + _PATIENCE, _FIRST_POLL
    while authorization.body.status == messages.STATUS_PENDING:
        if time.monotonic() > end:
            raise CertificateError(f"the authority has not looked at {name} within {_PATIENCE:.0f} s")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_POLL)
        authorization, _ = client.poll(authorization)
    if authorization.body.status != messages.STATUS_VALID:
        found = [str(one.error.detail) for one in authorization.body.challenges if one.error is not None]
        raise CertificateError("; ".join(found) or f"the authority does not believe that {name} leads here")


def _account_key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(path, key_pem(ec.generate_private_key(ec.SECP256R1())), mode=0o600)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise CertificateError(f"{path} is no private key: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{path} is not an elliptic curve key")
    return key
