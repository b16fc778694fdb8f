"""A stack as CloudFormation makes it of a template: each resource by the calls of AWS's own API, in words
that are translated by the shapes of botocore's models, and without a property left over.

moto's CloudFormation knows half of the types that templates have here, and drops most properties of those:
what a bucket is but its name, what is in a function's image configuration, the tags of an address.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_VARIABLE = re.compile(r"\$\{(!?)([^}]*)\}")
# Where CloudFormation's name is not the API's in other capitals.
_NAMES = {
    "IPV6Enabled": "IsIPV6Enabled",
    "OriginCustomHeaders": "CustomHeaders",
    "ServerSideEncryptionByDefault": "ApplyServerSideEncryptionByDefault",
    "ImageTagMutabilityExclusionFilterType": "filterType",
    "ImageTagMutabilityExclusionFilterValue": "filter",
}
Call = Callable[..., Any]
Made = tuple[str, dict[str, str]]  # what Ref is, and what GetAtt is by name


class Stack:
    """One in a region of the account. What has been made is never changed."""

    def __init__(self, template: Mapping[str, Any], client: Callable[[str, str], Any], region: str) -> None:
        self._template, self._client, self._region = template, client, region
        self._parameters: dict[str, str] = {}
        self._made: dict[str, Made] = {}

    def update(self, **parameters: str) -> None:
        """Make what is not there yet and is to be, as CreateStack and UpdateStack do."""
        known = self._template["Parameters"]
        assert parameters.keys() <= known.keys(), parameters.keys() - known.keys()
        self._parameters = {name: one["Default"] for name, one in known.items() if "Default" in one}
        self._parameters |= parameters
        for name, parameter in known.items():
            value = self._parameters[name]
            assert value in parameter.get("AllowedValues", [value])
            if parameter["Type"] == "AWS::SSM::Parameter::Name":
                self._client("ssm", self._region).get_parameter(Name=value)
        for name, resource in self._template["Resources"].items():
            if self._is_wanted(resource):
                self._make(name)

    def _is_wanted(self, resource: Mapping[str, Any]) -> bool:
        if "Condition" not in resource:
            return True
        ((one,),) = self._template["Conditions"][resource["Condition"]].values()
        first, second = self._value(one["Fn::Equals"])
        return bool(first != second)  # all conditions are Fn::Not of Fn::Equals

    def _make(self, name: str) -> Made:
        if name not in self._made:
            resource = self._template["Resources"][name]
            assert self._is_wanted(resource), f"{name} is needed, and not wanted"
            for other in resource.get("DependsOn", ()):
                self._make(other)
            properties = self._value(resource["Properties"])
            self._made[name] = _MAKERS[resource["Type"]](self._call, properties)
            assert not properties, f"{name} has {', '.join(properties)}"
        return self._made[name]

    def _call(self, service: str, operation: str, **arguments: Any) -> Any:
        client = self._client(service, self._region)
        model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation])
        return getattr(client, operation)(**_spoken(arguments, model.input_shape))

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._value(one) for one in value]
        if not isinstance(value, dict):
            return value
        if len(value) != 1 or next(iter(value)) not in _FUNCTIONS:
            return {name: self._value(one) for name, one in value.items()}
        ((function, argument),) = value.items()
        return _FUNCTIONS[function](self, argument)

    def ref(self, name: str) -> str:
        """What Ref is of a parameter or a resource, which is made where it is not there yet."""
        own = {
            "AWS::AccountId": "123456789012",
            "AWS::Region": self._region,
            "AWS::URLSuffix": "amazonaws.com",
        }
        found = own.get(name) or self._parameters.get(name)
        return found if found is not None else self._make(name)[0]

    def _attribute(self, argument: list[str]) -> str:
        return self._make(argument[0])[1][argument[1]]

    def _text(self, text: str) -> str:
        def replaced(match: re.Match[str]) -> str:
            kept, name = match.groups()
            resource, _, attribute = name.partition(".")
            if kept:
                return f"${{{name}}}"
            return self._attribute([resource, attribute]) if attribute else self.ref(name)

        return _VARIABLE.sub(replaced, text)

    def _select(self, argument: list[Any]) -> Any:
        return self._value(argument[1])[int(argument[0])]

    def _split(self, argument: list[Any]) -> list[str]:
        return str(self._value(argument[1])).split(argument[0])

    def _base64(self, argument: Any) -> str:
        return base64.b64encode(self._value(argument).encode()).decode()


_FUNCTIONS: dict[str, Callable[[Stack, Any], Any]] = {
    "Ref": Stack.ref,
    "Fn::GetAtt": Stack._attribute,
    "Fn::Sub": Stack._text,
    "Fn::Select": Stack._select,
    "Fn::Split": Stack._split,
    "Fn::Base64": Stack._base64,
}


def _spoken(value: Any, shape: Any) -> Any:
    """CloudFormation's value as that of a botocore shape. Fails where the shape has no such member."""
    if shape.type_name == "structure":
        if {"Quantity", "Items"} <= shape.members.keys():
            given = value if isinstance(value, Mapping) else {"Items": value}
            value = {"Quantity": len(given["Items"]), **{name: one for name, one in given.items() if one}}
        if "AllowedMethods" in value:
            methods = {"Items": value["AllowedMethods"], "CachedMethods": value["CachedMethods"]}
            value = {name: one for name, one in value.items() if name != "CachedMethods"}
            value |= {"AllowedMethods": methods}
        members = {name.casefold(): name for name in shape.members}
        named = {members.get(_NAMES.get(name, name).casefold(), name): one for name, one in value.items()}
        assert named.keys() <= shape.members.keys(), f"{shape.name}: {named.keys() - shape.members.keys()}"
        return {name: _spoken(one, shape.members[name]) for name, one in named.items()}
    if shape.type_name == "list":
        return [_spoken(one, shape.member) for one in value]
    if shape.type_name == "map" and isinstance(value, list):
        return {one.get("Name", one.get("Key")): one["Value"] for one in value}
    if shape.type_name == "string" and not isinstance(value, str):
        return json.dumps(value)
    if shape.type_name in ("integer", "long"):
        return int(value)
    return value


def _image(call: Call, uri: str) -> None:
    """AWS makes nothing of an image that is not there."""
    repository, _, tag = uri.partition("/")[2].rpartition(":")
    call("ecr", "describe_images", repositoryName=repository, imageIds=[{"imageTag": tag}])


def _repository(call: Call, p: dict[str, Any]) -> Made:
    policy, lifecycle = p.pop("RepositoryPolicyText", None), p.pop("LifecyclePolicy")
    made = call("ecr", "create_repository", **_all(p))["repository"]
    named = {"repositoryName": made["repositoryName"]}
    if policy:
        call("ecr", "set_repository_policy", **named, policyText=policy)
    call("ecr", "put_lifecycle_policy", **named, lifecyclePolicyText=lifecycle.pop("LifecyclePolicyText"))
    return named["repositoryName"], {"Arn": made["repositoryArn"]}


def _provider(call: Call, p: dict[str, Any]) -> Made:
    arn = call("iam", "create_open_id_connect_provider", **_all(p))["OpenIDConnectProviderArn"]
    return arn, {"Arn": arn}


def _role(call: Call, p: dict[str, Any]) -> Made:
    policies, managed = p.pop("Policies", ()), p.pop("ManagedPolicyArns", ())
    made = call("iam", "create_role", **_all(p))["Role"]
    named = {"RoleName": made["RoleName"]}
    for policy in policies:
        call("iam", "put_role_policy", **named, **policy)
    for arn in managed:
        call("iam", "attach_role_policy", **named, PolicyArn=arn)
    return named["RoleName"], {"Arn": made["Arn"]}


def _profile(call: Call, p: dict[str, Any]) -> Made:
    roles = p.pop("Roles")
    made = call("iam", "create_instance_profile", **_all(p))["InstanceProfile"]
    named = {"InstanceProfileName": made["InstanceProfileName"]}
    for role in roles:
        call("iam", "add_role_to_instance_profile", **named, RoleName=role)
    return made["InstanceProfileName"], {"Arn": made["Arn"]}


def _bucket(call: Call, p: dict[str, Any]) -> Made:
    named = {"Bucket": p.pop("BucketName")}
    region = call("s3", "create_bucket", **named, **_place(call))["Location"]
    assert region
    encryption = {"Rules": p.pop("BucketEncryption")["ServerSideEncryptionConfiguration"]}
    lifecycle = p.pop("LifecycleConfiguration")
    for rule in lifecycle["Rules"]:
        rule["Filter"] = {"Prefix": rule.pop("Prefix", "")}
    call("s3", "put_bucket_versioning", **named, VersioningConfiguration=p.pop("VersioningConfiguration"))
    call("s3", "put_bucket_encryption", **named, ServerSideEncryptionConfiguration=encryption)
    blocked = p.pop("PublicAccessBlockConfiguration")
    call("s3", "put_public_access_block", **named, PublicAccessBlockConfiguration=blocked)
    call("s3", "put_bucket_ownership_controls", **named, OwnershipControls=p.pop("OwnershipControls"))
    call("s3", "put_bucket_lifecycle_configuration", **named, LifecycleConfiguration=lifecycle)
    call("s3", "put_bucket_tagging", **named, Tagging={"TagSet": p.pop("Tags")})
    host = f"{named['Bucket']}.s3.{_region(call)}.amazonaws.com"
    return named["Bucket"], {"Arn": f"arn:aws:s3:::{named['Bucket']}", "RegionalDomainName": host}


def _bucket_policy(call: Call, p: dict[str, Any]) -> Made:
    call("s3", "put_bucket_policy", Bucket=p["Bucket"], Policy=p.pop("PolicyDocument"))
    return p.pop("Bucket"), {}


def _log_group(call: Call, p: dict[str, Any]) -> Made:
    named = {"logGroupName": p["LogGroupName"]}
    days = p.pop("RetentionInDays")
    call("logs", "create_log_group", **_all(p))
    call("logs", "put_retention_policy", **named, retentionInDays=days)
    return named["logGroupName"], {}


def _certificate(call: Call, p: dict[str, Any]) -> Made:
    zones = {one["DomainName"]: one["HostedZoneId"] for one in p.pop("DomainValidationOptions")}
    arn = call("acm", "request_certificate", **_all(p))["CertificateArn"]
    options = call("acm", "describe_certificate", CertificateArn=arn)["Certificate"]
    for option in options["DomainValidationOptions"]:
        record = option["ResourceRecord"]
        settings = {"Type": record["Type"], "TTL": "300", "ResourceRecords": [record["Value"]]}
        zone = zones[option["DomainName"]]
        _record(call, {"HostedZoneId": zone, "Name": record["Name"], **settings})
    return arn, {}


def _record(call: Call, p: dict[str, Any]) -> Made:
    zone = p.pop("HostedZoneId")
    if "ResourceRecords" in p:
        p["ResourceRecords"] = [{"Value": value} for value in p["ResourceRecords"]]
    name = p["Name"]
    change = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": _all(p)}]}
    call("route53", "change_resource_record_sets", HostedZoneId=zone, ChangeBatch=change)
    return name, {}


def _cache_policy(call: Call, p: dict[str, Any]) -> Made:
    identity = call("cloudfront", "create_cache_policy", **_all(p))["CachePolicy"]["Id"]
    return identity, {"Id": identity}


def _access_control(call: Call, p: dict[str, Any]) -> Made:
    made = call("cloudfront", "create_origin_access_control", **_all(p))["OriginAccessControl"]
    return made["Id"], {"Id": made["Id"]}


def _edge_function(call: Call, p: dict[str, Any]) -> Made:
    published = p.pop("AutoPublish")
    made = call("cloudfront", "create_function", **_all(p))
    if published:
        call("cloudfront", "publish_function", Name=made["FunctionSummary"]["Name"], IfMatch=made["ETag"])
    arn = made["FunctionSummary"]["FunctionMetadata"]["FunctionARN"]
    return arn, {"FunctionARN": arn}


def _distribution(call: Call, p: dict[str, Any]) -> Made:
    config = {"CallerReference": "of the stack", **p.pop("DistributionConfig")}
    for origin in config["Origins"]:
        origin.setdefault("OriginCustomHeaders", [])
    wanted = {"DistributionConfig": config, "Tags": {"Items": p.pop("Tags")}}
    made = call("cloudfront", "create_distribution_with_tags", DistributionConfigWithTags=wanted)
    return made["Distribution"]["Id"], {"DomainName": made["Distribution"]["DomainName"]}


def _function(call: Call, p: dict[str, Any]) -> Made:
    _image(call, p["Code"]["ImageUri"])
    reserved = p.pop("ReservedConcurrentExecutions", None)
    made = call("lambda", "create_function", **_all(p))
    if reserved is not None:
        named = {"FunctionName": made["FunctionName"]}
        call("lambda", "put_function_concurrency", **named, ReservedConcurrentExecutions=reserved)
    return made["FunctionName"], {"Arn": made["FunctionArn"]}


def _version(call: Call, p: dict[str, Any]) -> Made:
    made = call("lambda", "publish_version", **_all(p))
    return made["FunctionArn"], {"Version": made["Version"]}


def _alias(call: Call, p: dict[str, Any]) -> Made:
    ready = p.pop("ProvisionedConcurrencyConfig", None)
    qualified = {"FunctionName": p["FunctionName"], "Qualifier": p["Name"]}
    arn = call("lambda", "create_alias", **_all(p))["AliasArn"]
    if ready is not None:
        call("lambda", "put_provisioned_concurrency_config", **qualified, **ready)
    return arn, {}


def _url(call: Call, p: dict[str, Any]) -> Made:
    named = {"FunctionName": p.pop("TargetFunctionArn")}
    made = call("lambda", "create_function_url_config", **named, **_all(p))
    return made["FunctionArn"], {"FunctionUrl": made["FunctionUrl"]}


def _permission(call: Call, p: dict[str, Any]) -> Made:
    name = f"the-stack-{p['Action'].rpartition(':')[2]}-8S7X6C5V"  # it makes one up
    function, _, qualifier = p.pop("FunctionName").rpartition(":")  # which moto does not do itself
    call("lambda", "add_permission", FunctionName=function, Qualifier=qualifier, StatementId=name, **_all(p))
    return name, {}


def _budget(call: Call, p: dict[str, Any]) -> Made:
    name = p["Budget"]["BudgetName"]
    call("budgets", "create_budget", AccountId="123456789012", **_all(p))
    return name, {}


def _scaling(call: Call, p: dict[str, Any]) -> Made:
    made = call("apprunner", "create_auto_scaling_configuration", **_all(p))
    arn = made["AutoScalingConfiguration"]["AutoScalingConfigurationArn"]
    return arn, {"AutoScalingConfigurationArn": arn}


def _apprunner(call: Call, p: dict[str, Any]) -> Made:
    _image(call, p["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"])
    made = call("apprunner", "create_service", **_all(p))["Service"]
    return made["ServiceArn"], {"ServiceArn": made["ServiceArn"], "ServiceUrl": made["ServiceUrl"]}


def _express(call: Call, p: dict[str, Any]) -> Made:
    _image(call, p["PrimaryContainer"]["Image"])
    arn = call("ecs", "create_express_gateway_service", **_all(p))["service"]["serviceArn"]
    there = call("ecs", "describe_express_gateway_service", serviceArn=arn)["service"]
    (path,) = there["activeConfigurations"][-1]["ingressPaths"]
    return arn, {"ServiceArn": arn, "Endpoint": path["endpoint"]}


def _security_group(call: Call, p: dict[str, Any]) -> Made:
    rules = p.pop("SecurityGroupIngress")
    named = {"GroupName": p.pop("GroupName"), "Description": p.pop("GroupDescription")}
    tags = [{"ResourceType": "security-group", "Tags": p.pop("Tags")}]
    group = call("ec2", "create_security_group", **named, TagSpecifications=tags)["GroupId"]
    for rule in rules:
        ranges: dict[str, Any] = {}
        if "CidrIp" in rule:
            ranges["IpRanges"] = [{"CidrIp": rule.pop("CidrIp")}]
        else:
            ranges["Ipv6Ranges"] = [{"CidrIpv6": rule.pop("CidrIpv6")}]
        call("ec2", "authorize_security_group_ingress", GroupId=group, IpPermissions=[rule | ranges])
    return group, {"GroupId": group}


def _instance(call: Call, p: dict[str, Any]) -> Made:
    tags, whole = p.pop("Tags"), p.pop("PropagateTagsToVolumeOnCreation", False)
    protected = {"DisableApiTermination": {"Value": p.pop("DisableApiTermination")}}
    specified = [
        {"ResourceType": kind, "Tags": tags} for kind in ("instance", *(("volume",) if whole else ()))
    ]
    made = call(
        "ec2",
        "run_instances",
        MinCount=1,
        MaxCount=1,
        ImageId=p.pop("ImageId").strip("{}"),
        IamInstanceProfile={"Name": p.pop("IamInstanceProfile")},
        UserData=base64.b64decode(p.pop("UserData")).decode(),  # botocore encodes it
        TagSpecifications=specified,
        **_all(p),
    )["Instances"][0]
    # moto does not take it when a machine starts.
    call("ec2", "modify_instance_attribute", InstanceId=made["InstanceId"], **protected)
    return made["InstanceId"], {"InstanceId": made["InstanceId"]}


def _address(call: Call, p: dict[str, Any]) -> Made:
    machine = p.pop("InstanceId")
    tags = [{"ResourceType": "elastic-ip", "Tags": p.pop("Tags")}]
    made = call("ec2", "allocate_address", **_all(p), TagSpecifications=tags)
    call("ec2", "associate_address", AllocationId=made["AllocationId"], InstanceId=machine)
    return made["PublicIp"], {"PublicIp": made["PublicIp"]}


def _all(properties: dict[str, Any]) -> dict[str, Any]:
    """What is left of the properties, which then have none."""
    found = dict(properties)
    properties.clear()
    return found


def _region(call: Call) -> str:
    stack: Stack = call.__self__  # type: ignore[attr-defined]
    return stack._region


def _place(call: Call) -> dict[str, Any]:
    region = _region(call)
    return {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}


_MAKERS: dict[str, Callable[[Call, dict[str, Any]], Made]] = {
    "AWS::AppRunner::AutoScalingConfiguration": _scaling,
    "AWS::AppRunner::Service": _apprunner,
    "AWS::Budgets::Budget": _budget,
    "AWS::CertificateManager::Certificate": _certificate,
    "AWS::CloudFront::CachePolicy": _cache_policy,
    "AWS::CloudFront::Distribution": _distribution,
    "AWS::CloudFront::Function": _edge_function,
    "AWS::CloudFront::OriginAccessControl": _access_control,
    "AWS::EC2::EIP": _address,
    "AWS::EC2::Instance": _instance,
    "AWS::EC2::SecurityGroup": _security_group,
    "AWS::ECR::Repository": _repository,
    "AWS::ECS::ExpressGatewayService": _express,
    "AWS::IAM::InstanceProfile": _profile,
    "AWS::IAM::OIDCProvider": _provider,
    "AWS::IAM::Role": _role,
    "AWS::Lambda::Alias": _alias,
    "AWS::Lambda::Function": _function,
    "AWS::Lambda::Permission": _permission,
    "AWS::Lambda::Url": _url,
    "AWS::Lambda::Version": _version,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::Route53::RecordSet": _record,
    "AWS::S3::Bucket": _bucket,
    "AWS::S3::BucketPolicy": _bucket_policy,
}
