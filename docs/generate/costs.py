"""What the default stage costs a month, counted from the synthesized templates."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from docs.generate.prices import AS_OF, HOURS, PRICES, Price, price_of
from docs.generate.synthesis import file_stem, nested_stacks
from policy.templates import App, Resource, Stack

REQUESTS_MILLION = Decimal(50_000 * HOURS) / 1_000_000
"""Payments a month at 50,000 an hour, in millions."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """Something that costs as long as it exists.

    Attributes:
        price: key in :data:`PRICES`.
        quantity: how many units at once.
        why: what it is there for.
    """

    price: str
    quantity: Decimal
    why: str

    @property
    def monthly(self) -> Decimal:
        """Dollars a month, rounded to cents."""
        return _cents(price_of(self.price).monthly * self.quantity)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Something that costs by use, with the use that is assumed.

    Attributes:
        price: key in :data:`PRICES`.
        quantity: units a month.
        assumed: how the quantity comes about.
    """

    price: str
    quantity: Decimal
    assumed: str

    @property
    def monthly(self) -> Decimal:
        """Dollars a month, rounded to cents."""
        return _cents(price_of(self.price).usd * self.quantity)


USAGE: Sequence[Usage] = (
    Usage(
        price="use:aurora-io",
        quantity=REQUESTS_MILLION * 20,
        assumed="10 writes of the storage for each payment, in both databases",
    ),
    Usage(price="use:aurora-storage", quantity=Decimal(200), assumed="100 GB in each database"),
    Usage(
        price="use:logs", quantity=REQUESTS_MILLION * 3, assumed="3 KB of service and firewall logs for each request"
    ),
    Usage(price="use:waf", quantity=REQUESTS_MILLION, assumed="one request for each payment"),
    Usage(
        price="use:nat", quantity=REQUESTS_MILLION * 8, assumed="8 KB to and from the card networks for each payment"
    ),
    Usage(
        price="use:lcu",
        quantity=Decimal(50_000) / 3600 / 25 * HOURS,
        assumed="a new connection for each request",
    ),
)

Counted = Callable[[Resource, App], Iterable[Item]]


def _one(price: str, why: str) -> Counted:
    return lambda _resource, _app: [Item(price=price, quantity=Decimal(1), why=why)]


def _endpoint(endpoint: Resource, _app: App) -> Iterable[Item]:
    if endpoint["VpcEndpointType"].text == "Interface":
        zones = len(endpoint["SubnetIds"].items())
        yield Item(price="endpoint", quantity=Decimal(zones), why="AWS services without a way over the internet")


def _instance(instance: Resource, _app: App) -> Iterable[Item]:
    yield Item(
        price=f"aurora:{instance['DBInstanceClass'].text}",
        quantity=Decimal(1),
        why="writer and reader in different zones, for each environment",
    )


def _replication_instance(instance: Resource, _app: App) -> Iterable[Item]:
    zones = 2 if instance["MultiAZ"].flag else 1
    yield Item(
        price=f"dms:{instance['ReplicationInstanceClass'].text}",
        quantity=Decimal(zones),
        why="runs all tasks; a stand-by in a second zone",
    )


def _service(target: Resource, app: App) -> Iterable[Item]:
    """A service costs by the tasks at the floor of its scaling."""
    tasks = Decimal(target["MinCapacity"].text)
    (definition, *_) = app.of_type("AWS::ECS::TaskDefinition")
    why = "the floor of scaling in both environments: each carries the whole load alone"
    yield Item(price="fargate:vcpu", quantity=tasks * Decimal(definition["Cpu"].text) / 1024, why=why)
    yield Item(price="fargate:gb", quantity=tasks * Decimal(definition["Memory"].text) / 1024, why=why)


def _load_balancer(balancer: Resource, _app: App) -> Iterable[Item]:
    yield Item(price="alb", quantity=Decimal(1), why="the one way in")
    yield Item(
        price="ipv4",
        quantity=Decimal(len(balancer["Subnets"].items())),
        why="addresses of the load balancer, one a zone",
    )


def _firewall(acl: Resource, _app: App) -> Iterable[Item]:
    yield Item(price="waf:acl", quantity=Decimal(1), why="in front of the load balancer")
    yield Item(
        price="waf:rule", quantity=Decimal(len(acl["Rules"].items())), why="managed rule groups and the rate limit"
    )


def _alarm(alarm: Resource, _app: App) -> Iterable[Item]:
    metrics = [metric for metric in alarm["Metrics"].items() if not metric["MetricStat"].missing]
    yield Item(price="alarm", quantity=Decimal(max(1, len(metrics))), why="see the stack")


def _health_check(check: Resource, _app: App) -> Iterable[Item]:
    settings = check["HealthCheckConfig"]
    kind = settings["Type"].text
    if kind == "CALCULATED":
        yield Item(price="health:calculated", quantity=Decimal(1), why="one address of the legacy system is enough")
        return
    place, why = ("other", "the legacy system") if not settings["IPAddress"].missing else ("aws", "the load balancer")
    options = int(kind.startswith("HTTPS")) + int(settings["RequestInterval"].text == "10")
    yield Item(price=f"health:{place}", quantity=Decimal(1), why=why)
    yield Item(price=f"health:{place}-option", quantity=Decimal(options), why=f"{why}, HTTPS every 10 s")


PRICED: Mapping[str, Counted] = {
    "AWS::CloudWatch::Alarm": _alarm,
    "AWS::CloudWatch::CompositeAlarm": _one("composite", "one verdict for each environment"),
    "AWS::CloudWatch::Dashboard": _one("dashboard", "on which an operator follows a cutover"),
    "AWS::ApplicationAutoScaling::ScalableTarget": _service,
    "AWS::DMS::ReplicationInstance": _replication_instance,
    "AWS::EC2::EIP": _one("ipv4", "addresses of the NAT gateways"),
    "AWS::EC2::NatGateway": _one("nat", "a way out in each zone that does not depend on another zone"),
    "AWS::EC2::TransitGatewayAttachment": _one("transit", "the way to the legacy database"),
    "AWS::EC2::VPCEndpoint": _endpoint,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": _load_balancer,
    "AWS::KMS::Key": _one("key", "one for each purpose"),
    "AWS::RDS::DBInstance": _instance,
    "AWS::Route53::HealthCheck": _health_check,
    "AWS::SecretsManager::Secret": _one("secret", "admin, application and replication accounts"),
    "AWS::WAFv2::WebACL": _firewall,
}
"""How each resource type that costs by existing is counted."""

BY_USE: Mapping[str, str] = {
    "AWS::Backup::BackupPlan": "recovery points cost by size",
    "AWS::DynamoDB::Table": "on demand: cents at a few writes a minute",
    "AWS::ECS::Cluster": "Container Insights costs by metric",
    "AWS::EC2::FlowLog": "costs by what the log group takes in",
    "AWS::Events::Rule": "scheduled rules and events of AWS services cost nothing",
    "AWS::Lambda::Function": "runs for minutes a month",
    "AWS::Lambda::LayerVersion": "stored within the free amount",
    "AWS::Logs::LogGroup": "costs by what it takes in",
    "AWS::RDS::DBCluster": "storage, I/O and backups cost by use",
    "AWS::S3::Bucket": "access logs cost by size",
    "AWS::SNS::Subscription": "costs by message",
    "AWS::SNS::Topic": "costs by message",
    "AWS::SQS::Queue": "costs by message",
    "AWS::StepFunctions::StateMachine": "costs by transition",
    "AWS::WAFv2::LoggingConfiguration": "costs by what the log group takes in",
}
"""Resource types that cost by use only, and why the fixed part leaves them out."""

FREE = frozenset(
    {
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        "AWS::Backup::BackupSelection",
        "AWS::Backup::BackupVault",
        "AWS::CertificateManager::Certificate",
        "AWS::CloudFormation::Stack",
        "AWS::DMS::Certificate",
        "AWS::DMS::Endpoint",
        "AWS::DMS::EventSubscription",
        "AWS::DMS::ReplicationSubnetGroup",
        "AWS::DMS::ReplicationTask",
        "AWS::EC2::InternetGateway",
        "AWS::EC2::Route",
        "AWS::EC2::RouteTable",
        "AWS::EC2::SecurityGroup",
        "AWS::EC2::SecurityGroupEgress",
        "AWS::EC2::SecurityGroupIngress",
        "AWS::EC2::Subnet",
        "AWS::EC2::SubnetRouteTableAssociation",
        "AWS::EC2::VPC",
        "AWS::EC2::VPCGatewayAttachment",
        "AWS::ECS::Service",
        "AWS::ECS::TaskDefinition",
        "AWS::ElasticLoadBalancingV2::Listener",
        "AWS::ElasticLoadBalancingV2::ListenerRule",
        "AWS::ElasticLoadBalancingV2::TargetGroup",
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Role",
        "AWS::KMS::Alias",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::Permission",
        "AWS::Logs::ResourcePolicy",
        "AWS::RDS::DBClusterParameterGroup",
        "AWS::RDS::DBSubnetGroup",
        "AWS::Route53::RecordSet",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::QueuePolicy",
        "AWS::SSM::Parameter",
        "AWS::SecretsManager::ResourcePolicy",
        "AWS::SecretsManager::RotationSchedule",
        "AWS::SecretsManager::SecretTargetAttachment",
        "AWS::WAFv2::WebACLAssociation",
        "Custom::ClosedDefaultSecurityGroup",
        "Custom::DatabaseBootstrap",
    }
)
"""Resource types without a price of their own."""


def unknown_types(app: App) -> list[str]:
    """Resource types of which this module does not say what they cost."""
    known = FREE | set(PRICED) | set(BY_USE)
    return sorted({resource.type for resource in app.resources} - known)


def items_of(app: App, stack: Stack) -> list[Item]:
    """What costs by existing in ``stack``, one item for each price and purpose."""
    quantities: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for resource in stack.resources.values():
        for item in PRICED[resource.type](resource, app) if resource.type in PRICED else ():
            quantities[item.price, item.why] += item.quantity
    items = [Item(price=price, quantity=n, why=why) for (price, why), n in quantities.items()]
    return sorted(items, key=lambda item: (-item.monthly, item.price, item.why))


INTRODUCTION = """\
# What it costs

<!-- Written by `make docs` from the synthesized templates; change docs/generate/costs.py or prices.py. -->

The default stage costs about **${fixed} a month** by existing, and about ${used} more at the 50,000 payments an hour
that it is planned for. The counts are read from the synthesized templates. The prices are list prices on demand in
us-east-1 as remembered in {as_of}, typed in from AWS's public lists and not read from a pricing API: **check a
price before you rely on it.** Taxes, support and discounts are not in it.
"""

BY_USE_TEXT = """\
## By use

At 50,000 payments an hour, all month: {millions} million payments. The amounts are assumptions; measure yours.
"""

NOT_COUNTED = """\
Not counted, because it depends on what cannot be told beforehand: what VPC flow logs, database audit logs and enhanced
monitoring take in (${logs} per GB), Container Insights (${metric} for each metric and month; it makes some for every
task), backups beyond the size of a cluster (${backup} per GB and month), data that leaves AWS, requests to KMS, Secrets
Manager, DynamoDB, SNS and S3, and tasks above the floor of scaling.

Resources that cost by use only:
"""


def document(app: App) -> str:
    """The page ``docs/costs.md``."""
    unknown = unknown_types(app)
    if unknown:
        raise ValueError(f"docs/generate/costs.py does not say what these cost: {', '.join(unknown)}")
    by_stack = {name: items_of(app, stack) for name, stack in nested_stacks(app).items()}
    totals = {name: sum((item.monthly for item in items), Decimal(0)) for name, items in by_stack.items()}
    fixed = sum(totals.values(), Decimal(0))
    used = sum((each.monthly for each in USAGE), Decimal(0))
    parts = [
        INTRODUCTION.format(fixed=_round(fixed), used=_round(used), as_of=AS_OF),
        "## By stack\n",
        *_table("nested stack", "a month:", "most of it", rows=[*_stack_rows(by_stack, totals, fixed)]),
        "\n## Line by line\n",
    ]
    for name, items in by_stack.items():
        if items:
            rows = [
                (price.what, f"{item.quantity.normalize():f}", _rate(price), _dollars(item.monthly), item.why)
                for item, price in ((item, price_of(item.price)) for item in items)
            ]
            parts += [f"### {file_stem(name)}: {_dollars(totals[name])}\n"]
            parts += [*_table("what", "how many:", "price", "a month:", "why", rows=rows), ""]
    usage = [
        (price.what, _rate(price), each.assumed, _dollars(each.monthly))
        for each, price in ((each, price_of(each.price)) for each in USAGE)
    ]
    unit = {name: f"{price_of(f'use:{name}').usd:f}" for name in ("logs", "metric", "backup")}
    existing = {resource.type for resource in app.resources}
    parts += [
        BY_USE_TEXT.format(millions=f"{REQUESTS_MILLION.normalize():f}"),
        *_table("what", "price", "assumed", "a month:", rows=[*usage, ("**all**", "", "", f"**{_dollars(used)}**")]),
        "",
        NOT_COUNTED.format(**unit),
        *(f"- `{kind}`: {why}" for kind, why in BY_USE.items() if kind in existing),
        "\n## What decides it\n",
        *_drivers(by_stack, fixed),
        "\n## The prices\n",
        *_table(
            "what",
            "unit",
            "price:",
            "note",
            rows=[(price.what, price.unit, f"${price.usd:f}", price.note) for price in PRICES.values()],
        ),
        "",
    ]
    return "\n".join(parts)


def _stack_rows(
    by_stack: Mapping[str, Sequence[Item]], totals: Mapping[str, Decimal], fixed: Decimal
) -> Iterable[Sequence[str]]:
    for name, total in sorted(totals.items(), key=lambda each: (-each[1], each[0])):
        items = by_stack[name]
        most = price_of(items[0].price).what if items else "nothing that costs by existing"
        yield f"`{file_stem(name)}`", _dollars(total), most
    yield "**all**", f"**{_dollars(fixed)}**", ""


def _table(*heads: str, rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """A table in Markdown; a head that ends with a colon is of a column that is aligned right."""
    yield f"| {' | '.join(head.removesuffix(':') for head in heads)} |"
    yield f"|{'|'.join('---:' if head.endswith(':') else '---' for head in heads)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _rate(price: Price) -> str:
    return f"${price.usd:f} per {price.unit}"


def _dollars(amount: Decimal) -> str:
    return f"${amount:,.2f}"


def _drivers(by_stack: Mapping[str, Sequence[Item]], fixed: Decimal) -> list[str]:
    """The few choices that make most of the sum."""
    every: defaultdict[str, Decimal] = defaultdict(Decimal)
    for items in by_stack.values():
        for item in items:
            every[item.price.split(":")[0]] += item.monthly
    choices = {
        "aurora": "Two database clusters with a reader each. After a migration the one that is left over can go.",
        "endpoint": "Interface endpoints, each in three zones. `network.interface_endpoints` is the list; leaving out "
        "one that a workload needs is an error.",
        "fargate": "Each environment always runs what carries the peak alone, so that a shift or a rollback never "
        "waits for scaling: `compute.peak_requests_per_second` and `compute.requests_per_second_per_task`.",
        "dms": "A Multi-AZ replication instance, for as long as the way back is to stay open.",
        "nat": "A NAT gateway in each zone, so that the loss of one zone does not cut the others off from the card "
        "networks.",
    }
    lines = []
    for name, amount in sorted(every.items(), key=lambda each: (-each[1], each[0])):
        if name in choices:
            share = math.floor(100 * amount / fixed + Decimal("0.5"))
            lines.append(f"- {share} %: {choices[name]}")
    return lines


def _round(amount: Decimal) -> str:
    return f"{int((amount / 10).quantize(Decimal(1), ROUND_HALF_UP) * 10):,}"


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
