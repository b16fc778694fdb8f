"""moto's server with what it lacks and `tagboat apply` needs: functions of CloudFront that are published and
that distributions name, certificates that are proved in the DNS, what signs for their buckets, the tags that
a bucket is made with, and a registry behind ECR: repositories called `live-…` are those of the one that
REGISTRY names.

Of AWS's own policies it knows the few that are attached, which is what makes it start in a second.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import urllib.error
import urllib.request
from typing import Any

import moto.iam.models as iam
from moto.acm.models import CertBundle
from moto.awslambda import urls as lambda_urls
from moto.awslambda.models import LambdaFunction
from moto.awslambda.policy import Policy
from moto.awslambda.responses import LambdaResponse
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.cloudfront import urls
from moto.cloudfront.exceptions import NoSuchFunctionExists
from moto.cloudfront.models import CloudFrontFunction, DefaultCacheBehaviour, Origin
from moto.cloudfront.responses import CloudFrontResponse
from moto.core.responses import ActionResult
from moto.ecr.exceptions import ImageNotFoundException
from moto.ecr.models import Repository
from moto.ecr.responses import ECRResponse
from moto.moto_api._internal import mock_random
from moto.s3.responses import S3Response
from moto.server import main

from tagboat.dns import Names, Server

ATTACHED = ("AmazonECSInfrastructureRoleforExpressGatewayServices", "AmazonSSMManagedInstanceCore")


def _summary(function: CloudFrontFunction, stage: str) -> dict[str, Any]:
    summary = dict(function.function_summary)
    summary["FunctionMetadata"] = {**summary["FunctionMetadata"], "Stage": stage}
    return summary


def describe_function(self: CloudFrontResponse) -> ActionResult:
    name, stage = self._get_param("Name"), self._get_param("Stage") or "DEVELOPMENT"
    function = self.backend.describe_function(name=name)
    if stage == "LIVE" and not hasattr(function, "live"):
        raise NoSuchFunctionExists(name)
    return ActionResult({"FunctionSummary": _summary(function, stage), "ETag": function.etag})


def update_function(self: CloudFrontResponse) -> ActionResult:
    function = self.backend.describe_function(name=self._get_param("Name"))
    function.config = self._get_param("FunctionConfig")
    function.code = self._get_param("FunctionCode")
    function.etag = mock_random.get_random_hex(13).upper()
    return ActionResult({"FunctionSummary": _summary(function, "DEVELOPMENT"), "ETag": function.etag})


def publish_function(self: CloudFrontResponse) -> ActionResult:
    function = self.backend.describe_function(name=self._get_param("Name"))
    function.live = function.code
    return ActionResult({"FunctionSummary": _summary(function, "LIVE")})


def policies_of(response: CloudFrontResponse) -> dict[str, Any]:
    """The account's cache policies, which end with its other things."""
    known: dict[str, Any] = response.backend.__dict__.setdefault("cache_policies", {})
    return known


def put_policy(response: CloudFrontResponse, name: str) -> ActionResult:
    config = response._get_param("CachePolicyConfig")
    policy = {"Id": name, "LastModifiedTime": "2026-01-01T00:00:00Z", "CachePolicyConfig": config}
    policies_of(response)[name] = policy
    return ActionResult({"CachePolicy": policy, "ETag": "1"})


def create_cache_policy(self: CloudFrontResponse) -> ActionResult:
    return put_policy(self, mock_random.get_random_hex(13))


def update_cache_policy(self: CloudFrontResponse) -> ActionResult:
    return put_policy(self, self._get_param("Id"))


def get_cache_policy(self: CloudFrontResponse) -> ActionResult:
    return ActionResult({"CachePolicy": policies_of(self)[self._get_param("Id")], "ETag": "1"})


def delete_cache_policy(self: CloudFrontResponse) -> ActionResult:
    del policies_of(self)[self._get_param("Id")]
    return ActionResult({})


def list_cache_policies(self: CloudFrontResponse) -> ActionResult:
    items = [{"Type": "custom", "CachePolicy": policy} for policy in policies_of(self).values()]
    return ActionResult({"CachePolicyList": {"MaxItems": 100, "Quantity": len(items), "Items": items}})


def remembering(of: type, **kept: tuple[str, Any]) -> None:
    """Let the values of a class keep members of what they are made of, which moto drops."""
    original = of.__init__

    def init(self: Any, config: dict[str, Any]) -> None:
        original(self, config)
        for attribute, (member, default) in kept.items():
            setattr(self, attribute, config.get(member, default))

    of.__init__ = init


def bucket_put(self: S3Response, request: Any, bucket: str, querystring: dict[str, Any]) -> Any:
    answer = original_bucket_put(self, request, bucket, querystring)
    tags = TAG.findall(self.body.decode()) if not querystring else []
    if tags:
        self.backend.put_bucket_tagging(bucket, dict(tags))
    return answer


def repository_init(self: Repository, *arguments: Any, **named: Any) -> None:
    original_repository_init(self, *arguments, **named)
    if self.name.startswith("live-"):
        self.uri = f"{REGISTRY}/{self.name}"


def get_authorization_token(self: ECRResponse) -> ActionResult:
    token = base64.b64encode(b"AWS:password").decode()
    data = {"authorizationToken": token, "proxyEndpoint": f"http://{REGISTRY}"}
    return ActionResult({"authorizationData": [data]})


def describe_images(self: ECRResponse) -> ActionResult:
    name = self._get_param("repositoryName")
    if not name.startswith("live-"):
        return original_describe_images(self)
    tag = self._get_param("imageIds")[0]["imageTag"]
    request = urllib.request.Request(f"http://{REGISTRY}/v2/{name}/manifests/{tag}", method="HEAD")
    request.add_header("Accept", "application/vnd.oci.image.manifest.v1+json")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            detail = {"imageDigest": answer.headers["Docker-Content-Digest"], "imageTags": [tag]}
    except urllib.error.HTTPError:
        raise ImageNotFoundException(tag, name, self.current_account) from None
    return ActionResult({"imageDetails": [detail]})


def invoke(self: LambdaSimpleBackend, *arguments: Any) -> bytes:
    """A function that nobody has said an answer for is well; what it wrote comes with each answer."""
    self.lambda_simple_results_queue = self.lambda_simple_results_queue or ['{"statusCode": 200}']
    *_, headers = arguments
    headers["x-amz-log-result"] = base64.b64encode(b"START RequestId: 1\nthe app says why\n").decode()
    return original_invoke(self, *arguments)


def put_provisioned(self: LambdaResponse) -> Any:
    count = json.loads(self.body)["ProvisionedConcurrentExecutions"]
    provisioned(self)[self._get_param("Qualifier")] = count
    return (
        202,
        {"status": 202},
        json.dumps({"RequestedProvisionedConcurrentExecutions": count, "Status": "IN_PROGRESS"}),
    )


def get_provisioned(self: LambdaResponse) -> Any:
    count = provisioned(self).get(self._get_param("Qualifier"))
    if count is None:
        refusal = {"Type": "User", "Message": "No Provisioned Concurrency Config found for this function"}
        kind = "ProvisionedConcurrencyConfigNotFoundException"
        return 404, {"status": 404, "x-amzn-errortype": kind}, json.dumps(refusal)
    return 200, {}, json.dumps({"RequestedProvisionedConcurrentExecutions": count, "Status": "READY"})


def delete_provisioned(self: LambdaResponse) -> Any:
    del provisioned(self)[self._get_param("Qualifier")]
    return 204, {"status": 204}, ""


def provisioned(self: LambdaResponse) -> dict[str, int]:
    """What the function keeps ready, by the version or alias."""
    function = self.backend.get_function(self.path.split("/")[-2])
    found: dict[str, int] = vars(function).setdefault("provisioned", {})
    return found


def decode_policy(self: Policy, given: dict[str, Any]) -> Policy:
    """moto keeps in the statement what AWS makes a condition of."""
    url, through = given.pop("FunctionUrlAuthType", None), given.pop("InvokedViaFunctionUrl", None)
    decoded = original_decode_policy(self, given)
    if url is not None:
        given["Condition"] = {"StringEquals": {"lambda:FunctionUrlAuthType": url}}
    if through is not None:
        given["Condition"] = {"Bool": {"lambda:InvokedViaFunctionUrl": str(through).lower()}}
    return decoded


def update_function_code(self: LambdaFunction, *arguments: Any, **named: Any) -> Any:
    self.code = dict(self.code)  # moto would change the versions that are published, too
    return original_update_function_code(self, *arguments, **named)


def check(self: CertBundle) -> None:
    """A certificate for names of a zone on loopback is issued once the records are there that prove them."""
    proofs = {f"_d930b28be6c5927595552b219965053e.{name}" for name in self.sans}
    zones = {".".join(name.split(".")[-2:]) for name in self.sans}
    kept = any(NAMES.ask_at(server, zone, "NS") for zone in zones for server in SERVERS)
    if not kept or all(NAMES.ask(proof, "CNAME").records for proof in proofs):
        original_check(self)


NAMES = Names.of_settings()
SERVERS = [Server(name, name, NAMES.resolvers[0].port) for name in ("127.0.0.2", "127.0.0.3")]
original_check = CertBundle.check
if "TAGBOAT_RESOLVERS" in os.environ:  # where nobody serves names, each question would wait for seconds
    CertBundle.check = check
LambdaResponse.put_provisioned_concurrency_config = put_provisioned
LambdaResponse.get_provisioned_concurrency_config = get_provisioned
LambdaResponse.delete_provisioned_concurrency_config = delete_provisioned
lambda_urls.url_paths[r"{0}/2019-09-30/functions/(?P<function_name>[^/]+)/provisioned-concurrency$"] = (
    LambdaResponse.dispatch
)
original_invoke = LambdaSimpleBackend.invoke
LambdaSimpleBackend.invoke = invoke
original_decode_policy = Policy.decode_policy
Policy.decode_policy = decode_policy
original_update_function_code = LambdaFunction.update_function_code
LambdaFunction.update_function_code = update_function_code
REGISTRY = os.environ["REGISTRY"]
original_repository_init = Repository.__init__
Repository.__init__ = repository_init
original_describe_images = ECRResponse.describe_images
ECRResponse.describe_images = describe_images
ECRResponse.get_authorization_token = get_authorization_token
TAG = re.compile(r"<Tag><Key>([^<]*)</Key><Value>([^<]*)</Value></Tag>")
original_bucket_put = S3Response._bucket_response_put
S3Response._bucket_response_put = bucket_put
remembering(DefaultCacheBehaviour, function_associations=("FunctionAssociations", {"Quantity": 0}))
remembering(Origin, origin_access_control_id=("OriginAccessControlId", ""))
CloudFrontResponse.describe_function = describe_function
CloudFrontResponse.update_function = update_function
CloudFrontResponse.publish_function = publish_function
for action in (
    create_cache_policy, update_cache_policy, get_cache_policy, delete_cache_policy, list_cache_policies,
):  # fmt: skip
    setattr(CloudFrontResponse, action.__name__, action)
for path in ("function/(?P<function_name>[^/]+)/publish$", "cache-policy$", "cache-policy/(?P<id>[^/]+)$"):
    urls.url_paths[f"{{0}}/2020-05-31/{path}"] = CloudFrontResponse.dispatch
policies = json.loads(iam.aws_managed_policies_data)
iam.aws_managed_policies_data = json.dumps({name: policies[name] for name in ATTACHED})

if __name__ == "__main__":
    main(sys.argv[1:])
