"""moto's server with what it lacks and `tagboat apply` needs: functions of CloudFront that are published and
that distributions name, what signs for their buckets, and the tags that a bucket is made with.

Of AWS's own policies it knows the few that are attached, which is what makes it start in a second.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import moto.iam.models as iam
from moto.cloudfront import urls
from moto.cloudfront.exceptions import NoSuchFunctionExists
from moto.cloudfront.models import CloudFrontFunction, DefaultCacheBehaviour, Origin
from moto.cloudfront.responses import CloudFrontResponse
from moto.core.responses import ActionResult
from moto.moto_api._internal import mock_random
from moto.s3.responses import S3Response
from moto.server import main

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


TAG = re.compile(r"<Tag><Key>([^<]*)</Key><Value>([^<]*)</Value></Tag>")
original_bucket_put = S3Response._bucket_response_put
S3Response._bucket_response_put = bucket_put
remembering(DefaultCacheBehaviour, function_associations=("FunctionAssociations", {"Quantity": 0}))
remembering(Origin, origin_access_control_id=("OriginAccessControlId", ""))
CloudFrontResponse.describe_function = describe_function
CloudFrontResponse.update_function = update_function
CloudFrontResponse.publish_function = publish_function
path = "{0}/2020-05-31/function/(?P<function_name>[^/]+)/publish$"
urls.url_paths[path] = CloudFrontResponse.dispatch
policies = json.loads(iam.aws_managed_policies_data)
iam.aws_managed_policies_data = json.dumps({name: policies[name] for name in ATTACHED})

if __name__ == "__main__":
    main(sys.argv[1:])
