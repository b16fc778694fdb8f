"""Who we are to Amazon's registry (ECR): a token of GetAuthorizationToken, for whom boto3 finds us to be.

That is its usual chain: variables, `AWS_PROFILE`, a web identity (`AWS_WEB_IDENTITY_TOKEN_FILE` with
`AWS_ROLE_ARN`), the role of a container or of a machine. Where AWS is elsewhere (`AWS_ENDPOINT_URL`), its
registry is there too, as a homeport's is.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from urllib.parse import urlsplit

from ocikit.credentials import Credentials
from ocikit.errors import OcikitError

__all__ = ["credentials"]

_HOST = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9-]+)\."
    r"(?:amazonaws\.(?:com(?:\.cn)?|eu)|on\.(?:aws|amazonwebservices\.com\.cn))"
)


def credentials(registry: str) -> Credentials | None:
    """A login, good for twelve hours, for an account's private registry or for that of AWS's endpoint; None
    for any other host.

    Raises OcikitError where nobody is logged in to AWS, or may not have a token.
    """
    host = _HOST.fullmatch(registry)
    if host is None and not _is_endpoint(registry):
        return None
    try:
        import boto3  # noqa: PLC0415  only for Amazon's registry
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ImportError as error:
        raise OcikitError(f"{registry}: to log in takes boto3; install ocikit[ecr]") from error
    try:
        config = Config(use_fips_endpoint=bool(host and host["fips"]))
        # A session of its own: the default one would keep who we were when it was made.
        client = boto3.Session().client("ecr", host["region"] if host else None, config=config)
        (data,) = client.get_authorization_token()["authorizationData"]
        token = base64.b64decode(data["authorizationToken"], validate=True).decode()
        username, _, password = token.partition(":")
    except (BotoCoreError, ClientError) as error:
        raise OcikitError(f"{registry}: no login from AWS: {error}") from error
    except (ValueError, KeyError, binascii.Error):
        raise OcikitError(f"{registry}: AWS answered without a token") from None
    return Credentials(username, password)


def _is_endpoint(registry: str) -> bool:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_ECR") or os.environ.get("AWS_ENDPOINT_URL", "")
    return urlsplit(endpoint).netloc == registry
