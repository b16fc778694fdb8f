"""`tagboat cost`: what a month of a component costs on each target."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tagboat.arguments import add_component, add_json, number
from tagboat.terminal import complain, say

if TYPE_CHECKING:
    from datetime import date

    from tagboat.arguments import Commands
    from tagboat.component import Component
    from tagboat.cost.bill import Bill, Line
    from tagboat.cost.prices import Price, Prices
    from tagboat.cost.usage import Usage

# As in cli.py, what a command needs is imported when it runs.
# ruff: noqa: PLC0415

_REGION = "ap-southeast-1"
_SHOWN = 4  # parts of a bill that are named in a line


def add_cost_command(commands: Commands) -> None:
    """Add `cost` to the commands."""
    cost = commands.add_parser(
        "cost",
        help="what a month of a component costs, on each target and on what it replaces",
        epilog="example: tagboat cost --views 100000 --region us-east-1 --chart examples/site",
    )
    add_component(cost)
    cost.add_argument(
        "--region",
        metavar="NAME",
        help=f"of AWS (default: that of the component's first target with one, or {_REGION})",
    )
    for name, default, unit, text in (
        ("views", 30_000, "N", "page views a month"),
        ("active-hours", 8, "H", "hours a day in which anybody asks, crawlers and probes included"),
        ("storage", 1, "GB", "data and uploads"),
        ("writes", 300, "N", "commits to the database a month"),
        ("page-size", 50, "KB", "sent for one view"),
        ("request-time", 60, "MS", "that a view keeps an instance busy"),
    ):
        cost.add_argument(
            f"--{name}", type=_amount, default=default, metavar=unit, help=f"{text} (%(default)s)"
        )
    cost.add_argument(
        "--shared-by",
        type=_count,
        default=1,
        metavar="N",
        help="services that share the load balancer of ECS Express Mode (%(default)s)",
    )
    cost.add_argument(
        "--no-free-tier", action="store_true", help="as if nothing were free: what it costs beyond that"
    )
    cost.add_argument("--prices", type=Path, metavar="FILE", help="other prices than those of tagboat")
    cost.add_argument("--details", action="store_true", help="each line of each bill, with its price")
    cost.add_argument("--chart", action="store_true", help="and a chart over traffic")
    add_json(cost, "print all of it, bills over traffic too, as JSON")
    cost.set_defaults(run=_cost)


def _amount(text: str) -> float:
    return number(text, 1e15, "amount")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _cost(options: argparse.Namespace) -> int:
    from tagboat.component import Component
    from tagboat.cost.chart import chart, over_traffic
    from tagboat.cost.prices import Prices, stale
    from tagboat.cost.targets import bills
    from tagboat.errors import ConfigError

    if options.active_hours > 24:
        raise ConfigError(f"--active-hours {options.active_hours:g}: a day has 24")
    component = Component.load(options.component)
    region = options.region or next(
        (one.region for one in component.config.targets.values() if one.region), _REGION
    )
    prices = Prices.read(region, options.prices, free_tier=not options.no_free_tier)
    usage = _usage(component, options)
    made = bills(usage, prices)
    used = {line.price.key: line.price for bill in made for line in bill.lines}
    today = datetime.now(UTC).date()
    old = stale(used.values(), today)
    over = _over_budget(component, made)
    if options.json:
        print(
            json.dumps(
                {
                    "component": component.name,
                    "region": region,
                    "usage": asdict(usage),
                    "bills": [_bill(bill) for bill in made],
                    "over_budget": over,
                    "prices": prices.file,
                    "over_traffic": [
                        {"views": views, "dollars": {bill.target: bill.dollars for bill in at}}
                        for views, at in over_traffic(usage, prices)
                    ],
                    "stale": [price.key for price in old],
                    "uncertain": {key: price.note for key, price in used.items() if price.note},
                },
                indent=2,
            )
        )
    else:
        print(_title(component.name, region, usage))
        print("\n".join(_table(made, details=options.details)))
        if options.chart:
            print("\n" + "\n".join(chart(usage, prices)))
        _remarks(made, prices, used)
    for line in over:
        say(line)
    _warn(old, today)
    return 0


def _usage(component: Component, options: argparse.Namespace) -> Usage:
    from tagboat.cost.usage import Usage

    return Usage(
        cpu=component.config.service.cpu,
        memory=component.config.service.memory,
        views=options.views,
        active_hours=options.active_hours,
        storage_gb=options.storage,
        writes=options.writes,
        page_kb=options.page_size,
        request_ms=options.request_time,
        shared_by=options.shared_by,
    )


def _over_budget(component: Component, made: list[Bill]) -> list[str]:
    """Targets of the component whose bill is above the budget that they set."""
    dollars = {bill.target: bill.dollars for bill in made}
    return [
        f"target {target.key} sets a budget of {target.budget} dollars, and a month would cost {cost:,.2f}"
        for target in component.config.targets.values()
        if target.budget is not None and (cost := dollars.get(target.kind)) is not None
        if cost > target.budget
    ]


def _bill(bill: Bill) -> dict[str, object]:
    return {
        "target": bill.target,
        "means": bill.means,
        "dollars": bill.dollars,
        "problem": bill.problem,
        "note": bill.note,
        "lines": [_line(line) for line in bill.lines],
    }


def _line(line: Line) -> dict[str, object]:
    price = line.price
    return {
        "what": line.what,
        "quantity": line.quantity,
        "dollars": line.dollars,
        "price": {
            "key": price.key,
            "dollars": price.dollars,
            "read": price.read.isoformat(),
            "source": price.source,
            "note": price.note,
        },
    }


def _title(name: str, region: str, usage: Usage) -> str:
    return (
        f"{name} in {region}: {usage.vcpu:g} vCPU and {usage.memory:,} MiB; {usage.views:,.0f} views and "
        f"{usage.writes:,.0f} writes a month,\n{usage.active_hours:g} active hours a day, "
        f"{usage.storage_gb:g} GB kept, {usage.out_gb:g} GB sent\n"
    )


def _table(made: list[Bill], *, details: bool) -> list[str]:
    width = max(len(bill.target) for bill in made)
    lines = [f"{'target':<{width}}  $ a month  of which"]
    for bill in made:
        if bill.dollars is None:
            lines.append(f"{bill.target:<{width}}          -  {bill.problem}")
            continue
        lines.append(f"{bill.target:<{width}} {bill.dollars:>10,.2f}  {_parts(bill)}".rstrip())
        if details:
            lines += [f"{'':<{width}}  {_in_detail(line)}" for line in bill.lines if line.quantity]
    return lines


def _parts(bill: Bill) -> str:
    """The largest parts by name, lines of one name together."""
    names = dict.fromkeys(line.what for line in bill.lines)
    largest = sorted(((bill.part(name), name) for name in names), reverse=True)
    worth = [(dollars, name) for dollars, name in largest if dollars >= 0.005]
    shown = [f"{name} {dollars:,.2f}" for dollars, name in worth[:_SHOWN]]
    rest = sum(dollars for dollars, _ in worth[_SHOWN:])
    return ", ".join([*shown, *([f"other {rest:,.2f}"] if rest else [])])


def _in_detail(line: Line) -> str:
    price = line.price
    return (
        f"{line.dollars:>9,.3f}  {line.what}: {line.quantity:,.6g} x {price.dollars:g} ({price.key}, "
        f"{price.read.isoformat()})"
    )


def _remarks(made: list[Bill], prices: Prices, used: dict[str, Price]) -> None:
    print()
    for bill in made:
        print(f"{bill.target}: {bill.means}{f'; {bill.note}' if bill.note else ''}")
    days = sorted(price.read for price in used.values())
    print("Not in it: taxes, logs and alarms, people.")
    print(f"Prices are of {days[0]} to {days[-1]}, from {prices.file}.")
    uncertain = sorted(key for key, price in used.items() if price.note)
    if uncertain:
        print(f"Not read at their source: {', '.join(uncertain)}.")


def _warn(old: list[Price], today: date) -> None:
    from tagboat.cost.prices import GOOD_FOR, age

    if old:
        complain(
            f"{len(old)} prices are older than {GOOD_FOR} days, the oldest is "
            f"{age(old[0], today)} days old: {', '.join(price.key for price in old)}",
            "compare them with their sources, and give a corrected copy of the file with --prices",
        )
