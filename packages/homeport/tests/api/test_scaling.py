"""Auto scaling configurations, with boto3."""

from __future__ import annotations

from typing import Any

import pytest
from packages.homeport.tests.api.conftest import create_service

from homeport.model import Scaling

_PROVIDED = "arn:aws:apprunner:local-1:000000000000:autoscalingconfiguration/DefaultConfiguration/1/" + (
    "0" * 31 + "1"
)


def _make(apprunner: Any, name: str = "busy", **sizes: int) -> dict[str, Any]:
    made: dict[str, Any] = apprunner.create_auto_scaling_configuration(
        AutoScalingConfigurationName=name, **sizes
    )["AutoScalingConfiguration"]
    return made


def test_the_default_is_there_from_the_beginning(apprunner: Any) -> None:
    (summary,) = apprunner.list_auto_scaling_configurations()["AutoScalingConfigurationSummaryList"]
    assert (summary["AutoScalingConfigurationArn"], summary["IsDefault"]) == (_PROVIDED, True)
    described = apprunner.describe_auto_scaling_configuration(AutoScalingConfigurationArn=_PROVIDED)
    sizes = {"MaxConcurrency": 100, "MinSize": 1, "MaxSize": 25, "Latest": True}
    assert described["AutoScalingConfiguration"].items() >= sizes.items()


def test_each_creation_under_a_name_is_a_revision(apprunner: Any) -> None:
    first = _make(apprunner)
    second = _make(apprunner, MaxConcurrency=5, MinSize=2, MaxSize=3)
    assert (first["AutoScalingConfigurationRevision"], second["AutoScalingConfigurationRevision"]) == (1, 2)
    assert (first["Latest"], second["Latest"]) == (True, True), "each was, when it was made"
    named = {"AutoScalingConfigurationName": "busy"}
    latest = apprunner.list_auto_scaling_configurations(**named)["AutoScalingConfigurationSummaryList"]
    assert [one["AutoScalingConfigurationRevision"] for one in latest] == [2]
    both = apprunner.list_auto_scaling_configurations(**named, LatestOnly=False)
    revisions = [
        one["AutoScalingConfigurationRevision"] for one in both["AutoScalingConfigurationSummaryList"]
    ]
    assert revisions == [1, 2]
    arn = first["AutoScalingConfigurationArn"]
    described = apprunner.describe_auto_scaling_configuration(AutoScalingConfigurationArn=arn)
    assert described["AutoScalingConfiguration"]["Latest"] is False


def test_an_arn_may_end_with_the_name_or_the_revision(apprunner: Any) -> None:
    first, second = _make(apprunner), _make(apprunner)
    base = first["AutoScalingConfigurationArn"].rsplit("/", 2)[0]
    for arn, expected in ((base, second), (f"{base}/1", first), (f"{base}/2", second)):
        found = apprunner.describe_auto_scaling_configuration(AutoScalingConfigurationArn=arn)
        named = found["AutoScalingConfiguration"]["AutoScalingConfigurationArn"]
        assert named == expected["AutoScalingConfigurationArn"]


@pytest.mark.parametrize("ending", ["/3", "/0", "/x", "/1/" + "0" * 32, "s", "/1/1/1"])
def test_one_that_is_not_there_is_a_typed_exception(apprunner: Any, ending: str) -> None:
    base = _make(apprunner)["AutoScalingConfigurationArn"].rsplit("/", 2)[0]
    with pytest.raises(apprunner.exceptions.ResourceNotFoundException):
        apprunner.describe_auto_scaling_configuration(AutoScalingConfigurationArn=base + ending)


def test_more_at_least_than_at_most_is_refused(apprunner: Any) -> None:
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match="less than MinSize"):
        _make(apprunner, MinSize=5, MaxSize=4)


def test_a_service_scales_as_the_configuration_says_that_it_names(harbour: Any, apprunner: Any) -> None:
    configuration = _make(apprunner, MaxConcurrency=5, MinSize=2, MaxSize=3)
    name_only = configuration["AutoScalingConfigurationArn"].rsplit("/", 2)[0]
    service = create_service(apprunner, AutoScalingConfigurationArn=name_only)
    summary = service["AutoScalingConfigurationSummary"]
    assert summary["AutoScalingConfigurationArn"] == configuration["AutoScalingConfigurationArn"]
    assert summary["HasAssociatedService"] is True
    spec = harbour.controller.service(service["ServiceArn"]).spec
    assert spec.scaling == Scaling(max_concurrency=5, min_size=2, max_size=3)

    other = _make(apprunner, "calm", MaxConcurrency=9)
    harbour.controller.finish(service["ServiceArn"])
    named = other["AutoScalingConfigurationArn"]
    apprunner.update_service(ServiceArn=service["ServiceArn"], AutoScalingConfigurationArn=named)
    assert harbour.controller.service(service["ServiceArn"]).spec.scaling.max_concurrency == 9
    harbour.controller.finish(service["ServiceArn"])
    apprunner.update_service(ServiceArn=service["ServiceArn"])
    assert harbour.controller.service(service["ServiceArn"]).spec.scaling.max_concurrency == 9


def test_who_uses_a_configuration_can_be_asked_in_pages(apprunner: Any) -> None:
    arn = _make(apprunner)["AutoScalingConfigurationArn"]
    made = {
        create_service(apprunner, f"blog{number}", AutoScalingConfigurationArn=arn)["ServiceArn"]
        for number in range(3)
    }
    create_service(apprunner, "other")
    ask = {"AutoScalingConfigurationArn": arn, "MaxResults": 2}
    first = apprunner.list_services_for_auto_scaling_configuration(**ask)
    rest = apprunner.list_services_for_auto_scaling_configuration(**ask, NextToken=first["NextToken"])
    assert (len(first["ServiceArnList"]), len(rest["ServiceArnList"])) == (2, 1)
    assert {*first["ServiceArnList"], *rest["ServiceArnList"]} == made


def test_the_default_can_be_another_for_services_to_come(apprunner: Any) -> None:
    before = create_service(apprunner, "before")
    arn = _make(apprunner, MaxConcurrency=7)["AutoScalingConfigurationArn"]
    updated = apprunner.update_default_auto_scaling_configuration(AutoScalingConfigurationArn=arn)
    assert updated["AutoScalingConfiguration"]["IsDefault"] is True
    listed = apprunner.list_auto_scaling_configurations()["AutoScalingConfigurationSummaryList"]
    defaults = [one["AutoScalingConfigurationArn"] for one in listed if one["IsDefault"]]
    assert defaults == [arn]
    after = create_service(apprunner, "after")["AutoScalingConfigurationSummary"]
    assert after["AutoScalingConfigurationArn"] == arn
    described = apprunner.describe_service(ServiceArn=before["ServiceArn"])["Service"]
    assert described["AutoScalingConfigurationSummary"]["AutoScalingConfigurationArn"] == _PROVIDED


def test_what_is_deleted_is_shown_as_inactive_and_cannot_be_used(apprunner: Any) -> None:
    arn = _make(apprunner)["AutoScalingConfigurationArn"]
    gone = apprunner.delete_auto_scaling_configuration(AutoScalingConfigurationArn=arn)
    assert gone["AutoScalingConfiguration"]["Status"] == "INACTIVE"
    described = apprunner.describe_auto_scaling_configuration(AutoScalingConfigurationArn=arn)
    assert "DeletedAt" in described["AutoScalingConfiguration"]
    assert len(apprunner.list_auto_scaling_configurations()["AutoScalingConfigurationSummaryList"]) == 1
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match="no active"):
        create_service(apprunner, AutoScalingConfigurationArn=arn)
    with pytest.raises(apprunner.exceptions.ResourceNotFoundException):
        apprunner.delete_auto_scaling_configuration(AutoScalingConfigurationArn=arn)
    assert _make(apprunner)["AutoScalingConfigurationRevision"] == 2


def test_all_revisions_of_a_name_go_at_once(apprunner: Any) -> None:
    arn, _, _ = [_make(apprunner)["AutoScalingConfigurationArn"] for _ in range(3)]
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match="DeleteAllRevisions"):
        apprunner.delete_auto_scaling_configuration(AutoScalingConfigurationArn=arn, DeleteAllRevisions=True)
    name = arn.rsplit("/", 2)[0]
    apprunner.delete_auto_scaling_configuration(AutoScalingConfigurationArn=name, DeleteAllRevisions=True)
    everything = apprunner.list_auto_scaling_configurations(LatestOnly=False)
    assert len(everything["AutoScalingConfigurationSummaryList"]) == 1


def test_what_is_used_or_the_default_cannot_be_deleted(harbour: Any, apprunner: Any) -> None:
    arn = _make(apprunner)["AutoScalingConfigurationArn"]
    service = create_service(apprunner, AutoScalingConfigurationArn=arn)["ServiceArn"]
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match="used by blog"):
        apprunner.delete_auto_scaling_configuration(AutoScalingConfigurationArn=arn)
    with pytest.raises(apprunner.exceptions.InvalidRequestException, match="default"):
        apprunner.delete_auto_scaling_configuration(AutoScalingConfigurationArn=_PROVIDED)
    for _ in range(2):
        harbour.controller.finish(service)
        if harbour.controller.service(service).deleted_at is None:
            apprunner.delete_service(ServiceArn=service)
    apprunner.delete_auto_scaling_configuration(AutoScalingConfigurationArn=arn)
    described = apprunner.describe_service(ServiceArn=service)["Service"]
    assert described["AutoScalingConfigurationSummary"]["Status"] == "INACTIVE"
