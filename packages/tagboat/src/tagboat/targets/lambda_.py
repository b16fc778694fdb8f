"""Lambda: the image is a function, its URL is behind CloudFront, and nobody asking costs nothing."""

from __future__ import annotations

import json

from tagboat.aws.kinds.lambda_ import ALIAS
from tagboat.aws.kinds.logs import DAYS
from tagboat.aws.policy import Document, allow, pulled_by, taken_by, writes_log
from tagboat.aws.probe import log_group
from tagboat.aws.resource import Ref, Resource
from tagboat.build.image import start_command
from tagboat.build.lambda_bridge import DOMAIN, SECRETS
from tagboat.build.lambda_bridge import PLACE as BRIDGE
from tagboat.targets import parts
from tagboat.targets.place import Place

_TIMEOUT = 60  # seconds that a request may take; CloudFront waits no longer either
_MEMORY = range(128, 10241)  # MiB
_MEMORY_OF_A_CPU = 1769  # MiB at which a function has one vCPU ("Configure Lambda function memory")
_ENVIRONMENT = 4096  # bytes of all variables together
# "Defined runtime environment variables" that no function may set.
_RESERVED = frozenset({
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "AWS_EXECUTION_ENV", "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR", "_HANDLER", "_X_AMZN_TRACE_ID",
})  # fmt: skip


def problems(place: Place) -> list[str]:
    """What of the configuration Lambda cannot honour, and what to change."""
    service = place.component.config.service
    found = place.common_problems()
    found += place.refuse("homeport-version", why="there is no homeport; leave it out")
    found += place.refuse("instance-type", why="a function has no machine; leave it out")
    found += place.refuse(
        "concurrency",
        "scale-on",
        "scale-target",
        why="each instance of a function takes one request at a time; leave it out",
    )
    least, most = place.target.min_instances or 0, place.target.max_instances
    if most is not None and least > most:
        found.append(f"min-instances = {least} is more than max-instances = {most}")
    if service.memory not in _MEMORY:
        found.append(f"memory = {service.memory}: a function has {_MEMORY.start} to {_MEMORY.stop - 1} MiB")
    needed = -(-service.cpu * _MEMORY_OF_A_CPU // 1024)
    if service.memory < needed:
        found.append(
            f"cpu = {service.cpu}: a function has CPU in proportion to its memory, and {service.cpu}/1024 of "
            f"a vCPU comes with memory = {needed}; raise memory or lower cpu"
        )
    if place.component.config.compression != "gzip":
        found.append(f"compression = {place.component.config.compression}: Lambda reads gzip alone")
    for name in sorted(_RESERVED.intersection({*place.environment, *place.secrets})):
        found.append(f"environment {name}: Lambda sets it itself; leave it out")
    size = parts.environment_size(variables(place))
    if size > _ENVIRONMENT:
        found.append(f"environment: it has {size} bytes, and a function may have {_ENVIRONMENT}")
    if place.target.log_days not in DAYS:
        found.append(f"log-days = {place.target.log_days}: CloudWatch Logs takes {', '.join(map(str, DAYS))}")
    return found


def variables(place: Place) -> dict[str, str]:
    """The function's variables. Lambda knows no secrets, so one says where they are kept, and the bridge
    reads them as the app starts, with the function's role.
    """
    domain = {DOMAIN: place.target.domain} if place.target.domain else {}
    if not place.secrets:
        return {**place.environment, **domain}
    kept = {name: [one.store, one.id, one.key] for name, one in sorted(place.secrets.items())}
    return {**place.environment, **domain, SECRETS: json.dumps(kept, separators=(",", ":"))}


def resources(place: Place) -> list[Resource]:
    """Everything that it needs, in no order."""
    repository = parts.repository(
        place, pulled_by("lambda.amazonaws.com", place.arn("lambda", f"function:{place.name}"))
    )
    group = parts.log_group(place, log_group(place.name))
    role = parts.role(
        place,
        "execution",
        taken_by("lambda.amazonaws.com"),
        {
            "log": writes_log(place.arn("logs", f"log-group:{group.name}")),
            **parts.bucket_policies(place),
            **parts.secret_policies(place),
        },
    )
    function = _function(place, repository, group, role)
    alias, url, *permissions = _address(place, function)
    return [
        repository,
        *parts.releases(place, release_actions(place)),
        *parts.buckets(place),
        *parts.secrets(place),
        group,
        role,
        function,
        alias,
        url,
        *permissions,
        *parts.front(place, Ref(url.key, "host")),
        *parts.budget(place),
    ]


def _function(place: Place, repository: Resource, group: Resource, role: Resource) -> Resource:
    service = place.component.config.service
    return Resource(
        "lambda.function",
        place.name,
        {
            "repository": place.repository,
            "role": Ref(role.key, "arn"),
            "memory": service.memory,
            "timeout": _TIMEOUT,
            "architecture": "arm64" if place.arm else "x86_64",
            "command": [f"/{BRIDGE}", *start_command(place.component.config.entrypoint)],
            "environment": variables(place),
            "health_path": service.health_path,
            "reserved": place.target.max_instances,
        },
        place.tags,
        after=(repository.key, group.key, *(f"s3.bucket/{bucket}" for bucket in place.buckets)),
        released=True,
    )


def _address(place: Place, function: Resource) -> list[Resource]:
    """The alias that is served, its URL, and that everybody may ask there.

    Open to all as any web page is. Where CloudFront signs what it asks (AWS_IAM), the hash of a form's body
    has to come from the browser, and browsers send none.
    """
    name = place.name
    alias = Resource(
        "lambda.alias",
        f"{name}/{ALIAS}",
        {
            "function": name,
            "health_path": place.component.config.service.health_path,
            "provisioned": place.target.min_instances or 0,
        },
        after=(function.key,),
    )
    url = Resource(
        "lambda.url",
        name,
        {"function": name, "auth": "NONE", "mode": "RESPONSE_STREAM"},
        after=(alias.key,),
    )
    permissions = [
        Resource(
            "lambda.permission",
            f"{name}/{sid}",
            {"function": name, "action": action, "principal": "*"},
            after=(url.key,),
        )
        for sid, action in (
            ("public-url", "lambda:InvokeFunctionUrl"),
            ("public-invoke", "lambda:InvokeFunction"),
        )
    ]
    return [alias, url, *permissions]


def release_actions(place: Place) -> Document:
    """What `tagboat deploy`, `rollback`, `status` and `logs` call, on what they call it."""
    function = place.arn("lambda", f"function:{place.name}")
    return parts.released_by(
        *parts.registry_actions(place),
        allow(
            [
                f"lambda:{action}"
                for action in (
                    "GetAlias",
                    "GetFunction",
                    "GetFunctionConfiguration",
                    "GetFunctionUrlConfig",
                    "InvokeFunction",
                    "ListVersionsByFunction",
                    "UpdateAlias",
                    "UpdateFunctionCode",
                    "UpdateFunctionConfiguration",
                )
            ],
            [function, f"{function}:*"],
        ),
        *parts.front_actions(place),
        parts.reads_log(place, log_group(place.name)),
    )
