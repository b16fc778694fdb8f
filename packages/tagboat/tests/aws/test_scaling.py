"""How a target scales, and what its budget watches: changed, cut short, put back."""

import pytest
from packages.tagboat.tests.aws.conftest import InterruptedHere

from tagboat.component import Component
from tagboat.doctor.cloud import cloud

APPRUNNER = """kind = "apprunner"
region = "ap-southeast-1"
concurrency = 50
max-instances = 3
"""


def scaling(aws):
    """The sizes of each revision of ours, and the name of what the service has."""
    runner = aws.wire.apprunner
    (service,) = runner.services.values()
    ours = [
        (one["MaxConcurrency"], one["MinSize"], one["MaxSize"])
        for one in runner.scaling.values()
        if one["AutoScalingConfigurationName"] == "shop"
    ]
    return ours, service["AutoScalingConfigurationSummary"]["AutoScalingConfigurationName"]


def test_app_runner_scales_as_is_said_and_keeps_no_old_revision(aws):
    aws.configure(APPRUNNER)
    aws.repository()
    aws.release()
    assert aws.run("apply")[0] == 0
    assert scaling(aws) == ([(50, 1, 3)], "shop")
    for concurrency in range(1, 5):  # App Runner keeps five revisions, and refuses a sixth
        aws.client("apprunner").create_auto_scaling_configuration(
            AutoScalingConfigurationName="shop",
            MaxConcurrency=concurrency,
            Tags=[
                {"Key": "tagboat:component", "Value": "shop"},
                {"Key": "tagboat:target", "Value": "production"},
            ],
        )
    aws.change("concurrency = 50", "concurrency = 57")
    assert aws.run("apply")[0] == 0
    assert scaling(aws) == ([(57, 1, 3)], "shop")
    assert aws.run("apply")[1] == "0 created, 0 changed\n"

    aws.change("concurrency = 57", "concurrency = 60")
    aws.calls.allowed = 0
    interrupted = 0
    while True:
        try:
            assert aws.run("apply")[0] == 0
            break
        except InterruptedHere:
            interrupted += 1
    assert interrupted == 3  # the revision, the service, the revision before
    assert scaling(aws) == ([(60, 1, 3)], "shop")
    assert aws.run("plan")[0] == 0

    aws.calls.allowed = None
    aws.change("concurrency = 60\nmax-instances = 3\n", "")
    assert aws.run("apply")[0] == 0
    assert scaling(aws)[1] == "DefaultConfiguration"


def test_a_function_keeps_as_many_instances_ready_as_is_said(aws):
    aws.configure('kind = "lambda"\nregion = "ap-southeast-1"\nmin-instances = 2\nmax-instances = 5\n')
    aws.repository()
    aws.release()
    assert aws.run("apply")[0] == 0
    lambda_ = aws.client("lambda")
    kept = lambda_.get_provisioned_concurrency_config(FunctionName="shop", Qualifier="live")
    assert kept["RequestedProvisionedConcurrentExecutions"] == 2
    assert lambda_.get_function_concurrency(FunctionName="shop")["ReservedConcurrentExecutions"] == 5
    aws.change("min-instances = 2\n", "")
    assert "provisioned: 2 -> 0" in aws.run("plan")[1]
    assert aws.run("apply")[0] == 0
    with pytest.raises(lambda_.exceptions.ProvisionedConcurrencyConfigNotFoundException):
        lambda_.get_provisioned_concurrency_config(FunctionName="shop", Qualifier="live")


def examined(aws):
    """What `doctor` says of the budget."""
    return next(one for one in cloud(Component.load(aws.directory)) if one.name == "budget")


def test_a_budget_watches_the_component_alone_only_where_its_tag_is_active(aws):
    aws.configure(
        'kind = "lambda"\nregion = "ap-southeast-1"\n'
        'budget = 10\nalert = "a@b.example"\nbudget-scope = "component"\n'
    )
    code, out, err = aws.run("plan")
    assert code == 2
    assert ". budgets.budget shop  (waits for its tag to be active for billing)\n" in out
    assert "? budgets.budget shop: the tag tagboat:component is not active for billing" in out
    assert "1 waiting for its tag to be active for billing" in err
    code, out, err = aws.run("apply")
    assert (code, out) == (1, "5 created, 0 changed\n")  # all else: the tag is known only once it is used
    assert "budgets.budget shop is not made: the tag tagboat:component is not active for billing" in err
    assert "update-cost-allocation-tags-status" in err
    assert aws.run("drift")[0] == 2
    assert examined(aws).state == "failed"
    aws.wire.costs.refused = True
    assert "only the account that pays knows" in aws.run("apply")[2]
    aws.wire.costs.refused = False
    aws.wire.costs.active.add("tagboat:component")
    assert examined(aws).state == "ok"
    assert aws.run("apply")[0] == 0
    (budget,) = aws.wire.budgets.budgets.values()
    assert budget["Budget"]["BudgetName"] == "shop"
    assert budget["Budget"]["CostFilters"] == {"TagKeyValue": ["user:tagboat:component$shop"]}
    assert aws.run("apply")[1] == "0 created, 0 changed\n"
    aws.change('budget-scope = "component"\n', "")
    assert aws.run("apply")[0] == 0
    assert "CostFilters" not in aws.wire.budgets.budgets["shop-whole-account"]["Budget"]
