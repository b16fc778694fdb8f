"""What a month costs: the figures that are known, to the cent, and what is told of prices and of amounts."""

import json
import re
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagboat.cli import main
from tagboat.cost import targets
from tagboat.cost.bill import Bill
from tagboat.cost.bucket import GETS_A_START
from tagboat.cost.chart import STEPS, chart
from tagboat.cost.prices import BUILT_IN, Prices, stale
from tagboat.cost.usage import DAYS, HOURS, Usage
from tagboat.errors import ConfigError

SINGAPORE, VIRGINIA = "ap-southeast-1", "us-east-1"
QUIET = Usage(cpu=512, memory=1024, views=0, writes=0)  # half a vCPU and 1 GB, as in the known figures


def bill(target: str, usage: Usage = QUIET, region: str = SINGAPORE, *, free_tier: bool = True) -> Bill:
    return targets.TARGETS[target](usage, Prices.read(region, free_tier=free_tier))


def cents(*lines: float) -> float:
    return round(sum(lines), 2)


def test_the_load_balancers_of_old_cost_what_they_cost():
    old = bill("ec2+alb+nlb")
    assert cents(old.part("load balancers")) == 36.79
    assert cents(old.lines[3].dollars) == 18.40  # the NLB's hours
    assert cents(old.part("addresses")) == 14.60
    assert cents(old.part("load balancers"), old.part("t3.small"), old.part("disk")) == 57.98
    assert cents(old.dollars) == 72.58


def test_a_control_plane_of_kubernetes_costs_73_dollars():
    for region in (SINGAPORE, VIRGINIA):
        assert cents(bill("eks", region=region).part("control plane")) == 73.00


@pytest.mark.parametrize(("region", "hours"), [(SINGAPORE, 6.1), (VIRGINIA, 9.1)])
def test_app_runner_is_15_dollars_where_anybody_asks_so_many_hours_a_day(region, hours):
    def app_runner(active_hours: float) -> float:
        parts = bill("apprunner", replace(QUIET, active_hours=active_hours), region)
        return parts.part("memory") + parts.part("vCPU") + parts.part("deployments by tag")

    assert round(app_runner(hours)) == 15
    assert round((15 - app_runner(0)) / (app_runner(1) - app_runner(0)), 1) == hours


@pytest.mark.parametrize(("hours", "dollars"), [(8, 16.32), (12, 21.24), (24, 36.03)])
def test_app_runner_by_active_hours(hours, dollars):
    parts = bill("apprunner", replace(QUIET, active_hours=hours))
    assert cents(parts.part("memory"), parts.part("vCPU")) == dollars


def test_app_runner_idle_and_busy_all_month():
    usage = replace(QUIET, cpu=1024, memory=2048, active_hours=24)
    parts = bill("apprunner", usage, VIRGINIA)
    assert cents(parts.part("memory")) == 10.22
    assert cents(parts.part("memory"), parts.part("vCPU")) == 56.94


@pytest.mark.parametrize(
    ("region", "cpu", "memory", "shared_by", "dollars"),
    [
        (SINGAPORE, 512, 1024, 1, 47.34),
        (SINGAPORE, 256, 512, 1, 38.34),
        (SINGAPORE, 512, 1024, 5, 26.78),
        (VIRGINIA, 512, 1024, 1, 41.79),
        (VIRGINIA, 256, 512, 1, 34.58),
    ],
)
def test_ecs_express_with_its_share_of_a_load_balancer(region, cpu, memory, shared_by, dollars):
    parts = bill("ecs-express", replace(QUIET, cpu=cpu, memory=memory, shared_by=shared_by), region)
    names = ("vCPU", "memory", "load balancer", "addresses")
    assert cents(*(parts.part(name) for name in names)) == dollars


def test_one_machine_with_homeport():
    assert cents(bill("vm", replace(QUIET, memory=512)).dollars) == 12.35
    assert cents(bill("vm").dollars) == 20.09  # 1 GB for the app needs the next larger one
    assert bill("vm").lines[0].what == "t4g.small"


def test_ten_million_calls_of_lambda_are_6_dollars_where_nothing_is_free():
    usage = replace(QUIET, memory=512, views=10_000_000, active_hours=24)
    parts = bill("lambda", usage, free_tier=False)
    starts = usage.active * 4 * 1.5 * 0.5 * 0.0000133334
    assert cents(parts.part("invocations"), parts.part("time") - starts) == 6.00


def test_a_small_site_on_lambda_is_below_a_dollar():
    usage = replace(QUIET, memory=512, views=1_000_000)
    assert cents(*(bill("lambda", usage).part(name) for name in ("invocations", "time", "data out"))) == 0
    assert bill("lambda", replace(usage, views=30_000)).dollars < 1


@pytest.mark.parametrize(("views", "dollars"), [(200_000, 0), (1_000_000, 48), (10_000_000, 588)])
def test_what_is_sent_costs_what_is_above_the_free_part(views, dollars):
    assert cents(bill("apprunner", replace(QUIET, views=views, page_kb=500)).part("data out")) == dollars


@pytest.mark.parametrize(("views", "dollars"), [(10_000, 0.004), (100_000, 0.04), (1_000_000, 0.40)])
def test_a_look_at_the_log_for_each_view_is_a_get(views, dollars):
    asked = [
        line for line in bill("apprunner", replace(QUIET, views=views)).lines if "gets" in line.price.key
    ]
    (gets,) = asked
    assert round(gets.dollars - 30 * GETS_A_START * 0.0004 / 1000, 3) == dollars


def test_what_does_not_fit_is_said_and_comes_last():
    large = replace(QUIET, cpu=4096, memory=40_000)
    made = targets.bills(large, Prices.read(SINGAPORE))
    problems = {one.target: one.problem for one in made if one.dollars is None}
    assert set(problems) == {"lambda", "vm", "apprunner", "ecs-express"}
    assert "40000 MiB" in problems["lambda"]
    assert [one.dollars is None for one in made] == sorted(one.dollars is None for one in made)


@given(
    st.sampled_from([SINGAPORE, VIRGINIA]),
    st.floats(0, 1e8),
    st.floats(1, 1e8),
    st.floats(0.1, 24),
    st.sampled_from([(256, 512), (512, 1024), (1024, 2048), (300, 700)]),
)
def test_more_traffic_never_costs_less(region, views, more, active_hours, size):
    less = Usage(*size, views=views, active_hours=active_hours)
    prices = Prices.read(region)
    for make in targets.TARGETS.values():
        here, there = make(less, prices).dollars, make(replace(less, views=views + more), prices).dollars
        assert here is None or there is None or there >= here - 1e-9
        assert here is None or here >= 0


def test_a_month_has_730_hours():
    assert HOURS == DAYS * 24 == 730


def test_both_regions_have_the_same_prices_each_with_day_and_source():
    one, other = Prices.read(SINGAPORE), Prices.read(VIRGINIA)
    assert one.by_key.keys() == other.by_key.keys()
    for price in (*one.by_key.values(), *other.by_key.values()):
        assert "https://" in price.source
        assert date(2026, 1, 1) < price.read
        assert price.dollars > 0


def test_prices_are_old_after_90_days():
    price = Prices.read(SINGAPORE)["alb-hour"]
    assert price.read == date(2026, 8, 21)
    assert stale([price], date(2026, 11, 19)) == []
    assert stale([price], date(2026, 11, 20)) == [price]


@pytest.fixture
def component(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "1.0.0"\n[tool.tagboat]\nentrypoint = ["shop"]\n'
        "[tool.tagboat.service]\ncpu = 512\nmemory = 1024\n"
    )
    return tmp_path


@pytest.fixture
def cost(component, capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["cost", *arguments, str(component)])
        return (code, *capsys.readouterr())

    return run


def test_the_command_lists_the_cheapest_first(cost):
    code, said, _ = cost("--views", "0", "--writes", "0")
    assert code == 0
    assert "shop in ap-southeast-1: 0.5 vCPU and 1,024 MiB; 0 views" in said
    rows = re.findall(r"^(\S+) +([\d,.]+)  ", said, re.MULTILINE)
    assert [target for target, _ in rows] == [
        "lambda", "apprunner", "vm", "ecs-express", "ec2+alb+nlb", "eks"
    ]  # fmt: skip
    assert ("ec2+alb+nlb", "72.58") in rows
    assert "load balancers 36.79" in said
    assert "closed to new customers since 2026-04-30" in said
    assert "Not read at their source: " in said
    assert f"from {BUILT_IN}." in said
    assert (
        "ecs-express: ECS Express Mode: Fargate (ARM) and a load balancer, the data in S3; 0.5 vCPU, 1 GB\n"
        in said
    )
    assert "load balancers: 730 x 0.0252 (nlb-hour, " in cost("--details")[1]


def test_scripts_have_every_line_and_bills_over_traffic(cost):
    code, said, _ = cost("--json", "--region", VIRGINIA, "--no-free-tier")
    told = json.loads(said)
    assert (code, told["component"], told["region"]) == (0, "shop", VIRGINIA)
    for one in told["bills"]:
        assert one["dollars"] == pytest.approx(sum(line["dollars"] for line in one["lines"]))
        for line in one["lines"]:
            assert line["dollars"] == pytest.approx(line["quantity"] * line["price"]["dollars"])
            assert "https://" in line["price"]["source"]
    assert [at["views"] for at in told["over_traffic"]] == list(STEPS)
    assert told["uncertain"].keys() >= {"nlb-hour"}


def test_old_prices_are_told_whatever_is_printed(cost, tmp_path):
    text = BUILT_IN.read_text(encoding="utf-8")
    prices = tmp_path / "prices.toml"
    today = date.today()  # noqa: DTZ011
    prices.write_text(re.sub(r"read = [\d-]+", f"read = {today.isoformat()}", text))
    assert cost("--prices", str(prices))[2] == ""
    prices.write_text(text.replace("2026-08-21", "2020-01-31"))
    for form in ((), ("--json",)):
        code, said, warned = cost("--prices", str(prices), *form)
        assert code == 0
        assert "prices are older than 90 days, the oldest is" in warned
        assert "alb-hour" in warned
    assert "alb-hour" in json.loads(said)["stale"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("dollars = 0.0252", 'dollars = "0.0252"', "'0.0252', not a number"),
        ("dollars = 0.0252", "dollars = -1", "is -1, not a number"),
        ("dollars = 0.0252", "dollars = nan", "is nan, not a number"),
        ('source = "elb"', 'source = "hearsay"', "source 'hearsay' is not one of"),
        ("read = 2026-08-21", 'read = "soon"', "needs `dollars`, `read` (the day) and `source`"),
        ("alb-hour = ", "old-alb-hour = ", "has no price alb-hour"),
        ("[free]", "[gifts]", "the table free is missing"),
        ("[source]", "[source", "at line"),
    ],
)
def test_a_wrong_file_of_prices_is_told_with_the_place(cost, tmp_path, old, new, problem):
    prices = tmp_path / "prices.toml"
    prices.write_text(BUILT_IN.read_text(encoding="utf-8").replace(old, new))
    code, said, told = cost("--prices", str(prices))
    assert (code, said) == (2, "")
    assert str(prices) in told
    assert problem in told


def test_a_region_without_prices_and_a_file_that_is_not_there_are_told(cost):
    code, said, told = cost("--region", "mars-1")
    assert (code, said) == (2, "")
    assert "there are no prices of the region mars-1" in told
    assert "it has ap-southeast-1, us-east-1" in told
    assert cost("--prices", "nowhere.toml")[0] == 2
    assert cost("--active-hours", "25")[0] == 2
    for wrong in (("--views", "-1"), ("--views", "many"), ("--storage", "nan"), ("--shared-by", "0")):
        with pytest.raises(SystemExit, match="2"):
            cost(*wrong)


def test_the_components_own_target_says_the_region_and_has_a_budget(cost, component):
    project = component / "pyproject.toml"
    project.write_text(
        project.read_text()
        + '[tool.tagboat.targets.production]\nkind = "ecs-express"\nregion = "us-east-1"\nbudget = 40\n'
    )
    code, said, warned = cost("--views", "0")
    assert (code, "shop in us-east-1: " in said) == (0, True)
    assert "target production sets a budget of 40 dollars, and a month would cost 42." in warned
    assert "shop in ap-southeast-1: " in cost("--region", SINGAPORE)[1]
    assert len(json.loads(cost("--json")[1])["over_budget"]) == 1
    project.write_text(project.read_text().replace("budget = 40", "budget = 50"))
    assert json.loads(cost("--json")[1])["over_budget"] == []


def test_the_chart_has_each_target_from_left_to_right(cost):
    drawn = chart(replace(QUIET, memory=512), Prices.read(SINGAPORE))
    area = [line[10:] for line in drawn[1:18]]
    for mark in "LVAEOK":
        columns = [column for line in area for column, cell in enumerate(line) if cell == mark]
        assert columns, mark
    assert max(len(line) for line in drawn) <= 90
    bottom = next(row for row, line in enumerate(area) if line.startswith("L"))
    assert bottom > next(row for row, line in enumerate(area) if line.startswith("K"))  # dearer is higher
    assert "\n".join(chart(Usage(512, 1024), Prices.read(SINGAPORE))) in cost("--chart")[1]
    with pytest.raises(ConfigError):
        Prices.read("mars-1")
