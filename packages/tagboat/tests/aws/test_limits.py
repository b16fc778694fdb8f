"""What a target cannot do is said by `plan`, with what to change; and the decisions without any server."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packages.tagboat.tests.aws.conftest import PYPROJECT

from tagboat.aws.account import Account, AwsError
from tagboat.aws.graph import ordered
from tagboat.aws.plan import Plan, decide, make_plan, rendered
from tagboat.aws.policy import canonical
from tagboat.aws.resource import Found, Ref, Resource
from tagboat.aws.template import template
from tagboat.component import Component
from tagboat.errors import ConfigError
from tagboat.targets.place import Place, UnsupportedError
from tagboat.targets.target import desired


def refusal(tmp_path, target, service=("", "")):
    """What is said of a target that cannot be."""
    text = PYPROJECT.replace(*service) if service[0] else PYPROJECT
    (tmp_path / "pyproject.toml").write_text(
        f'{text}\n[tool.tagboat.targets.production]\nregion = "eu-central-1"\n{target}'
    )
    component = Component.load(tmp_path)
    place = Place(component, component.config.targets["production"], "123456789012", "eu-central-1")
    with pytest.raises(UnsupportedError) as caught:
        desired(place)
    return str(caught.value)


@pytest.mark.parametrize(
    ("target", "service", "said"),
    [
        ('kind = "lambda"', ("cpu = 256", "cpu = 512"), "comes with memory = 885; raise memory or lower cpu"),
        ('kind = "lambda"', ("memory = 512", "memory = 20000"), "a function has 128 to 10240 MiB"),
        ('kind = "lambda"\nmin-instances = 2\nmax-instances = 1', ("", ""), "is more than max-instances = 1"),
        ('kind = "lambda"\nconcurrency = 2', ("", ""), "takes one request at a time"),
        ('kind = "ecs-express"\nconcurrency = 2', ("", ""), 'scale-on = "requests" and scale-target'),
        ('kind = "ecs-express"\nscale-on = "requests"', ("", ""), "how many a minute"),
        ('kind = "ecs-express"\nscale-target = 101', ("", ""), "it is in percent"),
        ('kind = "apprunner"\nmin-instances = 0', ("", ""), "take kind = lambda to scale to zero"),
        ('kind = "apprunner"\nmax-instances = 26', ("", ""), "App Runner takes 25 at most"),
        ('kind = "apprunner"\nscale-on = "cpu"', ("", ""), "concurrency says how many"),
        ('kind = "lambda"\nbudget-scope = "component"', ("", ""), "there is no budget"),
        ('kind = "lambda"\ninstance-type = "t4g.small"', ("", ""), "a function has no machine"),
        ('kind = "lambda"\nlog-days = 31', ("", ""), "CloudWatch Logs takes 1, 3, 5"),
        ('kind = "lambda"', ('LOG = "info"', 'AWS_REGION = "x"'), "Lambda sets it itself"),
        ('kind = "lambda"', ('"info"', f'"{"x" * 4096}"'), "and a function may have 4096"),
        ('kind = "lambda"', ('"info"', '"s3://other/db"'), "names the bucket other, which is neither"),
        ('kind = "lambda"\nredirects = ["a.example"]', ("", ""), "they need a domain to lead to"),
        ('kind = "lambda"\nuploads-path = "/u/*"', ("", ""), "it needs uploads-bucket"),
        ('kind = "lambda"\nbudget = 3', ("", ""), "an alarm needs both"),
        ('kind = "ecs-express"', ('health-path = "/healthz"\n', ""), "health-path is missing"),
        ('kind = "ecs-express"', ("memory = 512", "memory = 600"), "Fargate has 512, 1024, 2048"),
        ('kind = "ecs-express"', ("cpu = 256", "cpu = 300"), "Fargate has 256, 512"),
        ('kind = "ecs-express"\nmin-instances = 0', ("", ""), "take kind = lambda to scale to zero"),
        ('kind = "apprunner"', ("memory = 512", "memory = 4096"), "App Runner has 512, 1024"),
        ('kind = "apprunner"\nplatform = "linux/arm64"', ("", ""), "App Runner runs linux/amd64 alone"),
        ('kind = "apprunner"\nlog-days = 30', ("", ""), "App Runner makes its log groups itself"),
        ('kind = "vm"\ndata-bucket = "data"', ("", ""), "keeps the buckets itself"),
        ('kind = "vm"', ("memory = 512", "memory = 60000"), "no small machine has that"),
        ('kind = "homeport"', ("cpu = 256", "cpu = 300"), "a homeport has 256, 512"),
        (
            'kind = "homeport"',
            ("cpu = 256", 'cpu = 256\nname = "api"'),
            "name = api: a service has 4 to 40 letters",
        ),
        (
            'kind = "vm"',
            ("cpu = 256", 'cpu = 256\nname = "api"'),
            "name = api: a service has 4 to 40 letters",
        ),
        ('kind = "homeport"\nlog-days = 3', ("", ""), "the log of a homeport is bounded in size"),
        ('kind = "homeport"\nredirects = ["a.example"]', ("", ""), "they need a domain to lead to"),
    ],
)
def test_what_a_target_cannot_do_is_told_with_what_to_change(tmp_path, target, service, said):
    assert said in refusal(tmp_path, target, service)


def test_all_problems_are_told_at_once(tmp_path):
    said = refusal(tmp_path, 'kind = "lambda"\nlog-days = 31\nbudget = 3', ("cpu = 256", "cpu = 512"))
    assert said.count("\n  - ") == 3


def test_a_release_role_wants_the_numbers_of_the_repository(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        PYPROJECT.replace("owner-id = 300\n", "")
        + '\n[tool.tagboat.targets.p]\nkind = "lambda"\nregion = "eu-central-1"\n'
    )
    component = Component.load(tmp_path)
    with pytest.raises(ConfigError, match="its numbers are missing"):
        desired(Place(component, component.config.targets["p"], "1", "eu-central-1"))


@given(st.data())
def test_resources_come_after_what_they_need(data):
    count = data.draw(st.integers(1, 12))
    made = []
    for number in range(count):
        needs = data.draw(st.sets(st.integers(0, max(0, number - 1)), max_size=3)) if number else set()
        settings = {"of": [Ref(f"k/{need}", "arn") for need in sorted(needs)]}
        made.append(Resource("k", str(number), settings))
    shuffled = data.draw(st.permutations(made))
    done = []
    for resource in ordered(shuffled):
        assert set(resource.needs) <= {one.key for one in done}
        done.append(resource)
    assert len(done) == count


def test_mistakes_of_a_target_are_not_ordered():
    one = Resource("k", "1", after=("k/2",))
    with pytest.raises(ValueError, match="needs k/2"):
        ordered([one])
    with pytest.raises(ValueError, match="each other"):
        ordered([one, Resource("k", "2", after=("k/1",))])
    with pytest.raises(ValueError, match="twice"):
        ordered([Resource("k", "2"), Resource("k", "2")])


def test_the_plan_shows_each_setting_and_no_secret():
    role = Resource("iam.role", "r", {"trust": {"a": 1}}, {"tagboat:component": "shop"})
    function = Resource(
        "lambda.function", "f", {"role": Ref(role.key, "arn"), "environment": {"KEY": "secret", "B": "b"}},
    )  # fmt: skip
    plan = make_plan([role, function], {}, released=True)
    assert rendered(plan) == [
        "+ iam.role r",
        "    trust.a: 1",
        "+ lambda.function f",
        "    role: (known when iam.role/r is there)",
        "    environment.KEY: (not shown)",
        "    environment.B: (not shown)",
    ]
    found = {
        role.key: Found({"trust": {"a": 1, "b": 2}}, {"arn": "arn"}, {"tagboat:component": "shop"}),
        function.key: Found({"role": "arn", "environment": {"KEY": "secret", "C": "c"}}),
    }
    change = decide(role, found)
    assert [(one.path, one.before, one.after) for one in change.differences] == [("trust.b", "2", "(none)")]
    assert rendered(Plan((decide(function, found),))) == [
        "~ lambda.function f",
        "    environment.B: (none) -> (not shown)",
        "    environment.C: (not shown) -> (none)",
    ]


def test_a_changed_policy_shows_what_of_it_differs():
    def role(*actions, resource="arn:aws:s3:::a"):
        statement = {"Effect": "Allow", "Action": sorted(actions), "Resource": [resource]}
        return {"policies": {"p": canonical({"Statement": [{"Effect": "Deny"}, statement]})}}

    wanted = Resource("iam.role", "r", role("s3:GetObject", "s3:PutObject", "s3:ListBucket"))
    there = Found(role("s3:GetObject", "s3:ListBucket", "s3:DeleteObject"))
    (difference,) = decide(wanted, {wanted.key: there}).differences
    assert difference.path == "policies.p.Statement.1.Action"
    assert (difference.before, difference.after) == ('["s3:DeleteObject"]', '["s3:PutObject"]')


@given(
    st.lists(st.sampled_from(["s3:GetObject", "s3:PutObject", "s3:ListBucket"]), min_size=1, unique=True),
    st.randoms(),
)
def test_policies_that_mean_the_same_are_equal(actions, random):
    shuffled = list(actions)
    random.shuffle(shuffled)
    one = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": ["*"]}]}
    other = {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Action": shuffled if len(shuffled) > 1 else shuffled[0],
            "Resource": "*",
        },
    }
    assert canonical(one) == canonical(other)


def test_a_template_keeps_dollars_that_are_no_variables():
    group = Resource("logs.log-group", "g-${AWS::Region}-${x}", {"days": 1})
    written = template([group], "one", region="eu-central-1")
    (resource,) = written["Resources"].values()
    assert resource["Properties"]["LogGroupName"] == {"Fn::Sub": "g-${AWS::Region}-${!x}"}


def test_what_is_still_in_use_is_taken_away_as_soon_as_it_is_not(monkeypatch):
    answers = iter(["ResourceInUseException", "ResourceInUseException", None, "ResourceInUseException"])

    class Busy(Account):
        def __init__(self):
            pass

        def call(self, service, operation, /, **arguments):
            code = next(answers)
            if code is not None:
                raise AwsError(f"{service} {operation}: {code}", code)
            return "gone"

    account, times = Busy(), iter([0, 1, 2, 3, 1900])
    clock = SimpleNamespace(sleep=lambda _: None, monotonic=lambda: next(times))
    monkeypatch.setattr("tagboat.aws.account.time", clock)
    assert account.find_when_free("acm", "delete_certificate", busy="ResourceInUseException") == "gone"
    with pytest.raises(AwsError, match="ResourceInUseException"):
        account.find_when_free("acm", "delete_certificate", busy="ResourceInUseException")
