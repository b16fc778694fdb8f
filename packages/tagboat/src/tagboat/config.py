"""`[tool.tagboat]` of a component's pyproject.toml, parsed once into typed values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tagboat.errors import ConfigError
from tagboat.table import Table, Text

if TYPE_CHECKING:
    from ocikit import Compression

TARGET_KINDS = ("homeport", "apprunner", "lambda", "ecs-express", "vm")
BUDGET_SCOPES = ("account", "component")
SCALE_ON = ("cpu", "memory", "requests")
_REGION = r"[a-z]{2}(-[a-z]+)+-\d"
_SERVICE_NAME = r"[A-Za-z][A-Za-z0-9-]{2,30}[A-Za-z0-9]"
_PLATFORM = r"linux/(amd64|arm64)"
_HOST = r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
_BUCKET = r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"
_PATH_PATTERN = r"/[\w./~-]*\*?"
_VERSION = r"[0-9]+(\.[0-9]+)*((a|b|rc)[0-9]+)?(\.post[0-9]+)?(\.dev[0-9]+)?"
_INSTANCE_TYPE = r"[a-z0-9-]+\.[a-z0-9-]+"
_MAIL = r"[^@\s]+@[^@\s]+\.[^@\s]+"
_KMS_KEY = r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[\w-]+"

ByteCode = bool | Literal["imported"]
"""Of all modules, of none, or of those that are imported."""


@dataclass(frozen=True)
class Service:
    """`[tool.tagboat.service]`: how the image is run. CPU in 1/1024 of a vCPU, memory in MiB."""

    name: str | None = None
    port: int = 8080
    cpu: int = 256
    memory: int = 512
    health_path: str | None = None
    environment: Mapping[str, Text] = field(default_factory=dict)
    secrets: Mapping[str, Text] = field(default_factory=dict)  # where the values are kept (secret.py)

    def expanded_environment(self) -> dict[str, str]:
        """The variables that an instance is started with; raises ConfigError for an unset one of ours."""
        return {name: text.expanded() for name, text in self.environment.items()}


@dataclass(frozen=True)
class Ci:
    """`[tool.tagboat.ci]`: how CI releases the component. In its commands, `$` is the shell's own."""

    test: str | None = None
    install: str | None = None
    branch: str = "main"
    environment: str = "production"
    image: str = "debian:bookworm"
    runner: str | None = None  # its label
    version_header: str | None = None
    smoke_timeout: int = 60  # seconds
    sigstore: str | None = None  # "public", or the file of a trust configuration, from the component's folder
    github: str | None = None
    gitlab: str | None = None
    repository_id: int | None = None
    owner_id: int | None = None


@dataclass(frozen=True)
class Target:
    """`[tool.tagboat.targets.NAME]`: a place where the service runs, and what of it differs there.

    `given` are the keys that were written, so that a target can refuse those that mean nothing to it. Budget
    in whole US dollars a month, `log_days` in days, `scale_target` in percent or in requests a minute.
    """

    key: str
    kind: str
    region: str | None = None
    name: str | None = None
    platform: str | None = None
    domain: str | None = None
    redirects: tuple[str, ...] = ()
    data_bucket: str | None = None
    uploads_bucket: str | None = None
    uploads_path: str | None = None
    cached_paths: tuple[str, ...] = ()
    min_instances: int | None = None
    max_instances: int | None = None
    concurrency: int | None = None  # requests at a time of one instance, before another one is started
    scale_on: str | None = None
    scale_target: int | None = None
    instance_type: str | None = None
    homeport_version: str | None = None
    log_days: int = 30
    budget: int | None = None
    alert: str | None = None
    budget_scope: str = "account"
    environment: Mapping[str, Text] = field(default_factory=dict)
    secrets: Mapping[str, Text] = field(default_factory=dict)
    secrets_key: str | None = None  # ARN
    given: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Config:
    """The whole of `[tool.tagboat]`.

    `entrypoint` is kept as written: a variable in it is expanded by a shell when the container starts.
    """

    base_text: Text
    repository_text: Text
    entrypoint: tuple[str, ...]
    environment: Mapping[str, Text] = field(default_factory=dict)
    user: str = "65532:65532"
    lock: str | None = None
    python: str | None = None
    interpreter: str | Mapping[str, str] | None = None  # an archive, or one for each architecture
    byte_code: ByteCode = True
    compression: Compression = "gzip"
    stop_signal: str = "SIGTERM"
    build_from_source: frozenset[str] = frozenset()  # names of packages, normalised
    service: Service = field(default_factory=Service)
    ci: Ci = field(default_factory=Ci)
    targets: Mapping[str, Target] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """`debian:SUITE`, `ubuntu:SUITE`, `oci:PATH[:NAME]`, `tar:PATH`, `scratch`, or a registry's image."""
        return self.base_text.expanded()

    @property
    def repository(self) -> str:
        """The name of the image repository that releases go to."""
        return self.repository_text.expanded()

    def expanded_environment(self) -> dict[str, str]:
        """The variables that the image sets; raises ConfigError for an unset one of ours."""
        return {name: text.expanded() for name, text in self.environment.items()}


def parse_config(table: Mapping[str, Any], file: Path, *, name: str, scripts: Iterable[str]) -> Config:
    """Read `[tool.tagboat]` of `file`; `name` and `scripts` are the project's, for what is left out.

    Raises ConfigError that names the file and the key.
    """
    reader = Table(table, "tool.tagboat", file)
    config = Config(
        base_text=reader.text("base", "debian:bookworm"),
        repository_text=reader.text("repository", name),
        entrypoint=reader.strings("entrypoint"),
        environment=reader.environment("environment"),
        user=reader.user("user", Config.user),
        lock=reader.string("lock"),
        python=reader.absolute_path("python"),
        interpreter=reader.string_or_choices("interpreter", ("amd64", "arm64")),
        byte_code=reader.boolean_or("byte-code", "imported", Config.byte_code),
        compression="zstd" if reader.choice("compression", ("gzip", "zstd")) == "zstd" else "gzip",
        build_from_source=reader.names("build-from-source"),
        stop_signal=reader.signal("stop-signal", Config.stop_signal),
        service=_parse_service(reader.table("service")),
        ci=_parse_ci(reader.table("ci")),
        targets={key: _parse_target(key, table) for key, table in reader.tables("targets").items()},
    )
    reader.refuse_unknown()  # first, for `entrypoint` may be there under a name with a slip
    return config if config.entrypoint else replace(config, entrypoint=_only_script(tuple(scripts), file))


def _parse_service(reader: Table) -> Service:
    service = Service(
        name=reader.string("name"),
        port=reader.integer("port", Service.port, range(1, 65536)),
        cpu=reader.integer("cpu", Service.cpu, range(1, 1 << 20)),
        memory=reader.integer("memory", Service.memory, range(1, 1 << 24)),
        health_path=reader.absolute_path("health-path"),
        environment=reader.environment("environment"),
        secrets=reader.environment("secrets"),
    )
    reader.refuse_unknown()
    return service


def _parse_ci(reader: Table) -> Ci:
    ci = Ci(
        test=reader.text("test", "").raw or None,
        install=reader.text("install", "").raw or None,
        branch=reader.string("branch") or Ci.branch,
        environment=reader.string("environment") or Ci.environment,
        image=reader.string("image") or Ci.image,
        runner=reader.string("runner"),
        version_header=reader.string("version-header"),
        smoke_timeout=reader.integer("smoke-timeout", Ci.smoke_timeout, range(1, 3601)),
        sigstore=reader.string("sigstore"),
        github=reader.string("github"),
        gitlab=reader.string("gitlab"),
        repository_id=reader.optional_integer("repository-id", range(1, 1 << 53)),
        owner_id=reader.optional_integer("owner-id", range(1, 1 << 53)),
    )
    reader.refuse_unknown()
    return ci


def _parse_target(key: str, reader: Table) -> Target:
    target = Target(
        key=key,
        kind=reader.required_choice("kind", TARGET_KINDS),
        region=reader.pattern("region", _REGION, "a region like eu-central-1"),
        name=reader.pattern("name", _SERVICE_NAME, "a name of letters, digits and hyphens, 4 to 32 of them"),
        platform=reader.pattern("platform", _PLATFORM, "linux/amd64 or linux/arm64"),
        domain=reader.pattern("domain", _HOST, "a host name"),
        redirects=reader.patterns("redirects", _HOST, "a host name"),
        data_bucket=reader.pattern("data-bucket", _BUCKET, "a bucket's name"),
        uploads_bucket=reader.pattern("uploads-bucket", _BUCKET, "a bucket's name"),
        uploads_path=reader.pattern("uploads-path", _PATH_PATTERN, "a path like /uploads/*"),
        cached_paths=reader.patterns("cached-paths", _PATH_PATTERN, "a path like /static/*"),
        min_instances=reader.optional_integer("min-instances", range(1001)),
        max_instances=reader.optional_integer("max-instances", range(1, 1001)),
        concurrency=reader.optional_integer("concurrency", range(1, 201)),
        scale_on=reader.optional_choice("scale-on", SCALE_ON),
        scale_target=reader.optional_integer("scale-target", range(1, 1_000_000)),
        instance_type=reader.pattern("instance-type", _INSTANCE_TYPE, "an instance type like t4g.small"),
        homeport_version=reader.pattern("homeport-version", _VERSION, "a version like 1.2.3"),
        log_days=reader.integer("log-days", Target.log_days, range(1, 3654)),
        budget=reader.optional_integer("budget", range(1, 1_000_000)),
        alert=reader.pattern("alert", _MAIL, "an e-mail address"),
        budget_scope=reader.choice("budget-scope", BUDGET_SCOPES),
        environment=reader.environment("environment"),
        secrets=reader.environment("secrets"),
        secrets_key=reader.pattern("secrets-key", _KMS_KEY, "the ARN of a key of KMS's"),
        given=reader.given(),
    )
    reader.refuse_unknown()
    return target


def _only_script(scripts: tuple[str, ...], file: Path) -> tuple[str, ...]:
    if len(scripts) == 1:
        return scripts
    found = (
        f"and [project.scripts] has {len(scripts)}: {', '.join(scripts)}"
        if scripts
        else "and no script is defined"
    )
    raise ConfigError(
        f"{file}: tool.tagboat.entrypoint is missing {found}",
        hint='say what starts the app, e.g. entrypoint = ["uvicorn", "shop.main:app", "--host", "0.0.0.0"]',
    )
