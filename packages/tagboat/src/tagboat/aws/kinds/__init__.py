"""The kinds of resources, by name."""

from __future__ import annotations

from tagboat.aws.kinds.acm import Certificate, Validation
from tagboat.aws.kinds.apprunner import AppRunnerService
from tagboat.aws.kinds.budgets import Budget
from tagboat.aws.kinds.cache import CachePolicy
from tagboat.aws.kinds.cloudfront import Distribution, EdgeFunction, OriginAccessControl
from tagboat.aws.kinds.dns import DnsRecord
from tagboat.aws.kinds.ec2 import Address, Instance, SecurityGroup
from tagboat.aws.kinds.ecr import EcrRepository
from tagboat.aws.kinds.ecs import ExpressService
from tagboat.aws.kinds.homeport import Domain, Redirect, Release
from tagboat.aws.kinds.iam import InstanceProfile, OidcProvider, Role
from tagboat.aws.kinds.kind import Kind
from tagboat.aws.kinds.lambda_ import Alias, Function, FunctionUrl, Permission
from tagboat.aws.kinds.logs import LogGroup
from tagboat.aws.kinds.route53 import Record
from tagboat.aws.kinds.s3 import Bucket, BucketPolicy
from tagboat.aws.kinds.scaling import AutoScaling
from tagboat.aws.kinds.secrets import Parameter, Secret
from tagboat.aws.kinds.ssm import RootKey

_ALL: tuple[Kind, ...] = (
    Address(), Alias(), AppRunnerService(), AutoScaling(), Bucket(), BucketPolicy(), Budget(), CachePolicy(),
    Certificate(), Distribution(), DnsRecord(), Domain(), EcrRepository(), EdgeFunction(), ExpressService(),
    Function(), FunctionUrl(), Instance(), InstanceProfile(), LogGroup(), OidcProvider(),
    OriginAccessControl(), Parameter(), Permission(), Record(), Redirect(), Release(), Role(), RootKey(),
    Secret(), SecurityGroup(), Validation(),
)  # fmt: skip
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}

__all__ = ["KINDS", "Kind"]
