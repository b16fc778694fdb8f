"""Which runtime a target is."""

from __future__ import annotations

from collections.abc import Callable

from ocikit import Platform
from tagboat.aws.apply import apply
from tagboat.cloud import Cloud, NoServiceError, Settings
from tagboat.component import Component
from tagboat.config import Target
from tagboat.identity import Login
from tagboat.runtime.apprunner import AppRunner
from tagboat.runtime.aws import kept_secrets, known
from tagboat.runtime.express import Express
from tagboat.runtime.function import Function
from tagboat.runtime.runtime import Runtime, Watch
from tagboat.targets import homeport, parts, vm
from tagboat.targets.apprunner import scaling
from tagboat.targets.place import Place
from tagboat.targets.target import Stack, default_target, named_target, require_possible


def runtime_of(component: Component, name: str | None, login: Login | None = None) -> Runtime:
    """Where the target called `name` runs, or the only one; without any target, what the AWS settings mean.
    A `login` stands in for these settings.

    Raises ConfigError and UnsupportedError.
    """
    if not component.config.targets and name is None:
        return _port(component, None, login)
    target = named_target(component, name)
    match target.kind:
        case "lambda":
            return Function(Stack.of(component, target.key, login))
        case "ecs-express":
            return Express(Stack.of(component, target.key, login))
        case "apprunner":
            return _apprunner(Stack.of(component, target.key, login), login)
        case "vm":
            return _machine(Stack.of(component, target.key, login))
        case _:
            return _port(component, target, login)


def require_settings(component: Component, name: str | None) -> None:
    """Raises ConfigError for a variable that a deployment there needs and that is not set, and for a secret
    that is none, UnsupportedError for what the target cannot do: before anything is built or pushed.
    """
    place = Place(component, default_target(component, name), "", "")
    _ = place.secrets
    require_possible(place)


def _cloud(region: str | None, login: Login | None) -> Cloud:
    return Cloud(region, owner=login.session, endpoint=login.endpoint) if login else Cloud(region)


def _port(component: Component, target: Target | None, login: Login | None) -> AppRunner:
    """App Runner's API at the address that the AWS settings have, or the login: a homeport."""
    place = Place(component, target or Target("default", "homeport"), "", "")
    tags = place.tags if target is not None and target.kind == "homeport" else {}

    def settings(image: str) -> Settings:
        return _settings(place, image, tags=tags, secrets=homeport.secrets(place))

    platform = Platform.parse(place.platform) if target is not None and target.platform is not None else None
    cloud, make = _cloud(None, login), _port_maker(place, login)
    return AppRunner(cloud, place.name, place.repository, settings, platform, make=make)


def _port_maker(place: Place, login: Login | None) -> Callable[[Watch], None] | None:
    """What makes the service of a homeport that is told how to scale or what it is called, which its owner
    alone may say.
    """
    if place.target.kind != "homeport" or not (scaling(place) or place.target.domain):
        return None

    def make(watch: Watch) -> None:
        _maker(Stack.of(place.component, place.target.key, login))(watch)

    return make


def _machine(stack: Stack) -> AppRunner:
    """The homeport on the machine of a target `vm`. Raises NoServiceError where that is not there."""
    place, port = stack.place, vm.port(stack.place)
    there = stack.account.on(port)
    if there is None:
        raise NoServiceError(
            f"there is no machine {place.name} yet",
            hint=f"`tagboat apply --target {place.target.key}` makes it",
        )

    def settings(image: str) -> Settings:
        kept_secrets(there, stack)
        return _settings(place, image, tags=place.tags, secrets=homeport.secrets(place))

    return _app_runner(stack, Cloud(there.region, owner=there.session, endpoint=port.url), settings)


def _apprunner(stack: Stack, login: Login | None) -> AppRunner:
    """App Runner of AWS, with the roles that it needs there."""
    place = stack.place

    def settings(image: str) -> Settings:
        return _settings(
            place,
            image,
            tags=place.tags,
            secrets=known(stack, parts.secret_refs(place)),
            access_role=place.role_arn(f"{place.name}-access"),
            instance_role=place.role_arn(f"{place.name}-instance"),
        )

    return _app_runner(stack, _cloud(stack.account.region, login), settings)


def _app_runner(stack: Stack, cloud: Cloud, settings: Callable[[str], Settings]) -> AppRunner:
    """What speaks App Runner's API and is made by `apply`."""
    place = stack.place
    return AppRunner(
        cloud,
        place.name,
        place.repository,
        settings,
        Platform.parse(place.platform),
        place.shared_tags,
        _maker(stack),
    )


def _maker(stack: Stack) -> Callable[[Watch], None]:
    """What makes the service and all that waited for it."""

    def make(watch: Watch) -> None:
        apply(stack.account, stack.resources, released=True, progress=watch.progress)

    return make


def _settings(
    place: Place,
    image: str,
    *,
    tags: dict[str, str],
    secrets: dict[str, str],
    access_role: str | None = None,
    instance_role: str | None = None,
) -> Settings:
    service = place.component.config.service
    return Settings(
        name=place.name,
        image=image,
        port=service.port,
        cpu=service.cpu,
        memory=service.memory,
        health_path=service.health_path,
        environment={name: value for name, value in place.environment.items() if name != "PORT"},
        access_role=access_role,
        instance_role=instance_role,
        tags=tags,
        secrets=secrets,
    )
