"""The picture of the architecture, drawn from the synthesized templates.

Every count, weight, port and name in it is read from the templates; only places and colours stand here. A nested
stack that has no place of its own yet appears in the row of supporting stacks with its commonest resources.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from docs.generate.svg import Box, Drawing
from docs.generate.synthesis import environment_of, file_stem, nested_stacks, references, root_of
from policy.templates import App, Resource, Stack

WIDTH = 1180
MARGIN = 20
COLUMN = 204
GAP = 38

LIGHT = {
    "page": "#ffffff",
    "stack": "#f6f8fa",
    "edge": "#c5ccd3",
    "ink": "#1f2328",
    "soft": "#59636e",
    "vpc": "#fbfcfd",
    "tier": "#eef2f6",
    "blue": "#0969da",
    "blue-fill": "#ddf0ff",
    "green": "#1a7f37",
    "green-fill": "#dcfbe4",
    "request": "#bc4c00",
    "replication": "#8250df",
    "reference": "#8c959f",
}
DARK = {
    "page": "#0d1117",
    "stack": "#161b22",
    "edge": "#3d444d",
    "ink": "#f0f6fc",
    "soft": "#9198a1",
    "vpc": "#10151c",
    "tier": "#1a212b",
    "blue": "#58a6ff",
    "blue-fill": "#12294a",
    "green": "#3fb950",
    "green-fill": "#11301c",
    "request": "#f0883e",
    "replication": "#bc8cff",
    "reference": "#6e7681",
}
STYLE = """
.page { fill: var(--page); }
.stack { fill: var(--stack); stroke: var(--edge); }
.vpc { fill: var(--vpc); stroke: var(--edge); stroke-dasharray: 6 4; }
.tier { fill: var(--tier); }
.node { fill: var(--page); stroke: var(--edge); }
.outside { fill: none; stroke: var(--soft); stroke-dasharray: 3 3; }
.blue { fill: var(--blue-fill); stroke: var(--blue); }
.green { fill: var(--green-fill); stroke: var(--green); }
text { fill: var(--ink); font-size: 12.5px; }
.name { font-size: 15px; font-weight: 600; }
.strong { font-weight: 600; }
.soft { fill: var(--soft); }
.small { font-size: 11.5px; fill: var(--soft); }
.ink-blue { fill: var(--blue); font-weight: 600; }
.ink-green { fill: var(--green); font-weight: 600; }
.ink-request { fill: var(--request); font-size: 11.5px; }
.ink-replication { fill: var(--replication); font-size: 12px; }
path { fill: none; }
.request { stroke: var(--request); stroke-width: 2.2; }
.idle { stroke: var(--request); stroke-width: 1.4; stroke-dasharray: 4 4; }
.replication { stroke: var(--replication); stroke-width: 2.2; }
.lever { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 2 3; }
.reference { stroke: var(--reference); stroke-width: 1.1; }
.w2 { stroke-width: 1.4; }
.w3 { stroke-width: 1.7; }
.w4 { stroke-width: 2; }
.w5 { stroke-width: 2.3; }
.dot { fill: var(--stack); stroke: var(--soft); stroke-width: 1.5; }
.head-request { fill: var(--request); }
.head-replication { fill: var(--replication); }
.head-lever { fill: var(--soft); }
.head-reference { fill: var(--reference); }
"""

Line = tuple[str, str, tuple[str, ...]]
"""Label for one, label for several, and the resource types that are counted."""

NETWORK: Sequence[Line] = (
    ("NAT gateway", "NAT gateways", ("AWS::EC2::NatGateway",)),
    ("security group", "security groups", ("AWS::EC2::SecurityGroup",)),
    (
        "security group rule",
        "security group rules",
        ("AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress"),
    ),
    ("flow log", "flow logs", ("AWS::EC2::FlowLog",)),
)
FRONT_DOOR: Sequence[Line] = (
    ("certificate", "certificates", ("AWS::CertificateManager::Certificate",)),
    ("bucket for access logs", "buckets for access logs", ("AWS::S3::Bucket",)),
)
COMPUTE: Sequence[Line] = (
    ("ECS cluster", "ECS clusters", ("AWS::ECS::Cluster",)),
    ("scaling policy", "scaling policies", ("AWS::ApplicationAutoScaling::ScalingPolicy",)),
    ("deployment alarm", "deployment alarms", ("AWS::CloudWatch::Alarm",)),
)
DATABASE: Sequence[Line] = (
    ("function", "functions", ("AWS::Lambda::Function",)),
    ("encrypted log group", "encrypted log groups", ("AWS::Logs::LogGroup",)),
    ("parameter group", "parameter groups", ("AWS::RDS::DBClusterParameterGroup",)),
)
REPLICATION: Sequence[Line] = (
    ("endpoint, verified TLS", "endpoints, verified TLS", ("AWS::DMS::Endpoint",)),
    ("event subscription", "event subscriptions", ("AWS::DMS::EventSubscription",)),
)
SUPPORTING: Mapping[str, Sequence[Line]] = {
    "Security": (("customer-managed key", "customer-managed keys", ("AWS::KMS::Key",)),),
    "State": (("table: lease, desired state, journal", "tables", ("AWS::DynamoDB::Table",)),),
    "Observability": (
        ("alarm", "alarms", ("AWS::CloudWatch::Alarm",)),
        ("composite alarm", "composite alarms", ("AWS::CloudWatch::CompositeAlarm",)),
        ("dashboard", "dashboards", ("AWS::CloudWatch::Dashboard",)),
        ("encrypted topic", "encrypted topics", ("AWS::SNS::Topic",)),
    ),
    "Cutover": (
        ("function", "functions", ("AWS::Lambda::Function",)),
        ("alarm on them", "alarms on them", ("AWS::CloudWatch::Alarm",)),
        ("state machine", "state machines", ("AWS::StepFunctions::StateMachine",)),
        ("encrypted topic", "encrypted topics", ("AWS::SNS::Topic",)),
    ),
    "Backup": (
        ("vault under its own key", "vaults", ("AWS::Backup::BackupVault",)),
        ("plan", "plans", ("AWS::Backup::BackupPlan",)),
        ("encrypted topic", "encrypted topics", ("AWS::SNS::Topic",)),
    ),
    "Configuration": (("SSM parameter", "SSM parameters", ("AWS::SSM::Parameter",)),),
}
PLACED = ("Network", "FrontDoor", "Routing", "Compute", "Database", "Replication")
"""Nested stacks with a place of their own; all others stand in the row below."""

LANES = ("blue", "green")

COLUMNS_TOP = 92
LANES_TOP = 222
SUPPORTING_TOP = 544
SUPPORTING_COLUMNS = 3
SUPPORTING_HEIGHT = 94
REFERENCES_HEIGHT = 262


@dataclass(frozen=True)
class Layout:
    """Boxes of the columns, and of the lanes of both environments in them."""

    columns: Mapping[str, Box]
    lanes: Mapping[tuple[str, str], Box]


def draw(app: App) -> str:
    """The picture of ``app`` as an SVG document."""
    stacks = nested_stacks(app)
    missing = [name for name in PLACED if name not in stacks]
    if missing:
        raise ValueError(f"the picture has a place for nested stacks that do not exist: {', '.join(missing)}")
    supporting = [name for name in stacks if name not in PLACED]
    rows = math.ceil(len(supporting) / SUPPORTING_COLUMNS)
    arcs_top = SUPPORTING_TOP + rows * SUPPORTING_HEIGHT + 8
    picture = Drawing(
        width=WIDTH,
        height=arcs_top + REFERENCES_HEIGHT,
        title="Architecture of the blue-green payment system",
        description=_description(stacks),
        light=LIGHT,
        dark=DARK,
        style=STYLE,
    )
    picture.rectangle(Box(x=0, y=0, width=WIDTH, height=picture.height), "page", radius=0)
    layout = _layout()
    _network(picture, stacks["Network"])
    _columns(picture, stacks, layout)
    _routing(picture, app, stacks["Routing"], layout)
    _front_door(picture, stacks, layout)
    _compute(picture, stacks["Compute"], stacks["Database"], layout)
    _database(picture, stacks["Database"], layout)
    _replication(picture, stacks["Replication"], layout)
    _legend(picture)
    _supporting(picture, {name: stacks[name] for name in supporting})
    _references(picture, app, top=arcs_top)
    return picture.render(["request", "replication", "lever", "reference"])


def _description(stacks: Mapping[str, Stack]) -> str:
    return (
        f"{len(stacks)} nested stacks with their main resources. Clients reach the load balancer, whose listener rule "
        "shares requests between a blue and a green service; both write to one database; DMS replicates between the "
        "blue and the green database, both ways."
    )


def _layout() -> Layout:
    names = ("Routing", "FrontDoor", "Compute", "Database", "Replication")
    columns = {
        name: Box(
            x=MARGIN + number * (COLUMN + GAP), y=COLUMNS_TOP, width=COLUMN if number < 4 else COLUMN - 32, height=336
        )
        for number, name in enumerate(names)
    }
    lanes = {
        (name, color): Box(
            x=columns[name].x + (30 if name == "FrontDoor" else 10),
            y=LANES_TOP + row * 104,
            width=columns[name].width - (40 if name == "FrontDoor" else 20),
            height=92,
        )
        for name in ("FrontDoor", "Compute", "Database")
        for row, color in enumerate(LANES)
    }
    return Layout(columns, lanes)


def _network(picture: Drawing, network: Stack) -> None:
    region = Box(x=MARGIN + COLUMN + 18, y=20, width=WIDTH - 2 * MARGIN - COLUMN - 10, height=470)
    picture.rectangle(region, "vpc", radius=10, tip=_tip(network))
    vpc = _only(network, "AWS::EC2::VPC")
    zones = sorted({subnet["AvailabilityZone"].text for subnet in _of(network, "AWS::EC2::Subnet")})
    picture.text(region.x + 14, 42, "network", "name")
    picture.text(region.x + 84, 42, f"VPC {vpc['CidrBlock'].text} in {', '.join(zones)}", "soft")
    picture.text(region.right - 14, 42, _size(network), "small", anchor="end")
    tiers = {
        "Public": ("public subnets", 0, 1),
        "Private": ("private subnets, out by NAT", 1, 2),
        "Isolated": ("isolated subnets, no way out", 2, 4),
    }
    kinds = Counter(_tag(subnet, "aws-cdk:subnet-type") for subnet in _of(network, "AWS::EC2::Subnet"))
    for kind, (label, first, last) in tiers.items():
        x = MARGIN + (first + 1) * (COLUMN + GAP) - 8
        right = MARGIN + last * (COLUMN + GAP) + COLUMN + 8 - (32 if last == 4 else 0)
        picture.rectangle(Box(x=x, y=58, width=right - x, height=378), "tier", radius=8)
        picture.text((x + right) / 2, 78, f"{kinds[kind]} {label}", "soft", anchor="middle")
    endpoints = Counter(endpoint["VpcEndpointType"].text for endpoint in _of(network, "AWS::EC2::VPCEndpoint"))
    facts = [
        _count(network, NETWORK[0]),
        f"{endpoints['Interface']} interface endpoints",
        f"{endpoints['Gateway']} gateway endpoints",
        *(_count(network, line) for line in NETWORK[1:]),
        "default security group closed",
    ]
    assert _of(network, "Custom::ClosedDefaultSecurityGroup")
    picture.text(region.x + 14, 466, "  ·  ".join(facts))


def _columns(picture: Drawing, stacks: Mapping[str, Stack], layout: Layout) -> None:
    lines = {"FrontDoor": FRONT_DOOR, "Compute": COMPUTE, "Database": DATABASE, "Replication": REPLICATION}
    for name, box in layout.columns.items():
        picture.rectangle(box, "stack", tip=_tip(stacks[name]))
        picture.text(box.x + 12, box.y + 23, file_stem(name), "name")
        picture.text(box.right - 12, box.y + 23, _size(stacks[name]), "small", anchor="end")
        # The line to the targets runs down on the left in the front door.
        x, first = {"FrontDoor": (30, 96), "Replication": (12, 84)}.get(name, (12, 48))
        for row, line in enumerate(lines.get(name, ())):
            picture.text(box.x + x, box.y + first + row * 18, _count(stacks[name], line))


def _routing(picture: Drawing, app: App, routing: Stack, layout: Layout) -> None:
    box = layout.columns["Routing"]
    clients = Box(x=box.x, y=20, width=box.width, height=46)
    picture.rectangle(clients, "outside", radius=23)
    picture.text(clients.centre, clients.y + 19, "clients of", anchor="middle")
    host = root_of(app).section("Outputs")["PaymentsHost"]["Value"]
    picture.text(clients.centre, clients.y + 36, str(host), "strong", anchor="middle")
    picture.path(f"M{clients.centre} {clients.bottom} V{box.y - 2}", "request", head="request")

    weights = {
        record["SetIdentifier"].text: record["Weight"].text
        for record in _of(routing, "AWS::Route53::RecordSet")
        if not record["Weight"].missing
    }
    top = box.y
    nodes = {"aws": _node(box, top + 34, 44), "rule": _node(box, top + 182, 84), "legacy": _node(box, top + 282, 44)}
    for name in ("aws", "legacy"):
        picture.rectangle(nodes[name], "node", radius=6)
        picture.text(nodes[name].x + 10, nodes[name].y + 18, f"DNS record {name}", "strong")
        picture.text(nodes[name].x + 10, nodes[name].y + 35, f"weight {weights[name]} at creation", "soft")
    plain = [record for record in _of(routing, "AWS::Route53::RecordSet") if record["Weight"].missing]
    for row, record in enumerate(plain):
        picture.text(box.x + 12, top + 102 + row * 19, record["Name"].text.rstrip("."))
    checks = len(_of(routing, "AWS::Route53::HealthCheck"))
    picture.text(box.x + 12, top + 102 + len(plain) * 19, f"{checks} health checks")

    shares = _shares(routing)
    picture.rectangle(nodes["rule"], "node", radius=6)
    picture.text(nodes["rule"].x + 10, nodes["rule"].y + 20, "listener rule", "strong")
    for row, color in enumerate(LANES):
        picture.text(
            nodes["rule"].x + 10, nodes["rule"].y + 42 + row * 20, f"{color} {shares[color]} %", f"ink-{color}"
        )
    picture.text(nodes["rule"].right - 10, nodes["rule"].y + 42, "at creation", "soft", anchor="end")

    legacy = Box(x=box.x, y=450, width=box.width, height=40)
    picture.rectangle(legacy, "outside", radius=20)
    picture.text(legacy.centre, legacy.y + 25, "legacy system, on-premises", "strong", anchor="middle")
    picture.path(
        f"M{legacy.centre} {nodes['legacy'].bottom} V{legacy.y - 2}", _share(weights["legacy"]), head="request"
    )

    door = layout.columns["FrontDoor"]
    picture.path(f"M{nodes['aws'].right} {nodes['aws'].middle} H{door.x + 8}", _share(weights["aws"]), head="request")
    picture.path(f"M{nodes['rule'].right} {nodes['rule'].middle} H{door.x + 15}", "lever", head="lever")


def _front_door(picture: Drawing, stacks: Mapping[str, Stack], layout: Layout) -> None:
    stack, box = stacks["FrontDoor"], layout.columns["FrontDoor"]
    balancer = Box(x=box.x + 10, y=box.y + 34, width=box.width - 20, height=44)
    listener = _only(stack, "AWS::ElasticLoadBalancingV2::Listener")
    acl = _only(stack, "AWS::WAFv2::WebACL")
    picture.rectangle(balancer, "node", radius=6)
    picture.text(
        balancer.x + 10,
        balancer.y + 18,
        f"load balancer, {listener['Protocol'].text} {listener['Port'].text}",
        "strong",
    )
    picture.text(balancer.x + 10, balancer.y + 35, f"web ACL of {len(acl['Rules'].items())} rules", "soft")
    shares = _shares(stacks["Routing"])
    rail = box.x + 17
    picture.path(f"M{rail} {balancer.bottom} V{layout.lanes['FrontDoor', 'green'].middle}", "idle")
    for color in LANES:
        lane = layout.lanes["FrontDoor", color]
        group = _in_lane(stack, "AWS::ElasticLoadBalancingV2::TargetGroup", color)
        _lane(
            picture,
            lane,
            color,
            "targets",
            f"{group['Protocol'].text} {group['Port'].text}",
            f"health every {group['HealthCheckIntervalSeconds'].text} s",
            "preview by host name",
        )
        service = layout.lanes["Compute", color]
        for start, end in ((rail, lane.x), (lane.right, service.x)):
            picture.path(f"M{start} {lane.middle} H{end - 1}", _share(shares[color]), head="request")
    served = max(layout.lanes["FrontDoor", color].middle for color in LANES if _share(shares[color]) == "request")
    picture.path(f"M{rail} {balancer.bottom} V{served + 1}", "request")


def _compute(picture: Drawing, stack: Stack, database_stack: Stack, layout: Layout) -> None:
    for color in LANES:
        lane = layout.lanes["Compute", color]
        scaling = _in_lane(stack, "AWS::ApplicationAutoScaling::ScalableTarget", color)
        task = _in_lane(stack, "AWS::ECS::TaskDefinition", color)
        _lane(
            picture,
            lane,
            color,
            "service",
            f"{scaling['MinCapacity'].text} to {scaling['MaxCapacity'].text} Fargate tasks",
            f"{int(task['Cpu'].text) / 1024:g} vCPU, {int(task['Memory'].text) / 1024:g} GB each",
            "read-only, not root",
        )
        # A service tries every database; the one that admits its account is the writer.
        for number, target in enumerate(LANES):
            database = layout.lanes["Database", target]
            shift = -12 if color == "blue" else 12
            shift += 10 * number
            picture.path(
                f"M{lane.right} {lane.middle + shift} L{database.x - 1} {database.middle + shift}",
                "request" if _writes(database_stack, target) else "idle",
                head="request",
            )


def _database(picture: Drawing, stack: Stack, layout: Layout) -> None:
    for color in LANES:
        cluster = _in_lane(stack, "AWS::RDS::DBCluster", color)
        instances = [each for each in _of(stack, "AWS::RDS::DBInstance") if environment_of(each) == color]
        secrets = [each for each in _of(stack, "AWS::SecretsManager::Secret") if environment_of(each) == color]
        _lane(
            picture,
            layout.lanes["Database", color],
            color,
            "Aurora MySQL",
            f"{len(instances)} instances, port {cluster['Port'].text}",
            f"{len(secrets)} secrets, rotated",
            f"{'writer' if _writes(stack, color) else 'locked'} at creation",
        )


def _replication(picture: Drawing, stack: Stack, layout: Layout) -> None:
    box = layout.columns["Replication"]
    instance = _only(stack, "AWS::DMS::ReplicationInstance")
    zones = "Multi-AZ" if instance["MultiAZ"].flag else "one zone"
    picture.text(box.x + 12, box.y + 48, f"DMS instance, {zones}")
    picture.text(box.x + 12, box.y + 66, instance["ReplicationInstanceClass"].text, "soft")
    tasks = {each["ReplicationTaskIdentifier"].text: each for each in _of(stack, "AWS::DMS::ReplicationTask")}
    down = next(each for name, each in tasks.items() if name.endswith("blue-to-green"))
    up = next(each for name, each in tasks.items() if name.endswith("green-to-blue"))
    assert len(tasks) == 2, sorted(tasks)
    blue, green = layout.lanes["Database", "blue"], layout.lanes["Database", "green"]
    outer, inner = box.x + 42, box.x + 20
    picture.path(
        f"M{blue.right} {blue.middle - 16} H{outer} V{green.middle + 16} H{green.right + 2}",
        "replication",
        head="replication",
    )
    picture.path(
        f"M{green.right} {green.middle - 16} H{inner} V{blue.middle + 16} H{blue.right + 2}",
        "replication",
        head="replication",
    )
    kinds = {"full-load-and-cdc": "full load, then CDC", "cdc": "CDC"}
    for y, name, task in ((256, "blue to green", down), (350, "green to blue", up)):
        picture.text(outer + 10, y, name, "strong")
        picture.text(outer + 10, y + 17, kinds[task["MigrationType"].text], "ink-replication")
    picture.text(outer + 10, 312, "rows validated")


def _legend(picture: Drawing) -> None:
    y = SUPPORTING_TOP - 26
    entries = (
        ("request", "request", "where requests go at creation"),
        ("idle", "request", "where they can go"),
        ("lever", "lever", "sets the weights"),
        ("replication", "replication", "replicates"),
    )
    x = MARGIN + COLUMN + 18.0
    for classes, head, label in entries:
        picture.path(f"M{x} {y} H{x + 34}", classes, head=head)
        picture.text(x + 42, y + 4, label, "soft")
        x += 72 + 6.4 * len(label)


def _supporting(picture: Drawing, stacks: Mapping[str, Stack]) -> None:
    width = (WIDTH - 2 * MARGIN - (SUPPORTING_COLUMNS - 1) * 14) / SUPPORTING_COLUMNS
    for number, (name, stack) in enumerate(stacks.items()):
        row, column = divmod(number, SUPPORTING_COLUMNS)
        box = Box(x=MARGIN + column * (width + 14), y=SUPPORTING_TOP + row * SUPPORTING_HEIGHT, width=width, height=82)
        picture.rectangle(box, "stack", tip=_tip(stack))
        picture.text(box.x + 12, box.y + 23, file_stem(name), "name")
        picture.text(box.right - 12, box.y + 23, _size(stack), "small", anchor="end")
        facts = [_count(stack, line) for line in SUPPORTING.get(name, ())] or _commonest(stack)
        if name == "Security":
            purposes = [alias["AliasName"].text.rsplit("/", 1)[-1] for alias in _of(stack, "AWS::KMS::Alias")]
            facts = [f"{facts[0]}:", ", ".join(purposes)]
        if name == "Configuration":
            facts += [f"under {_of(stack, 'AWS::SSM::Parameter')[0]['Name'].text.rsplit('/', 2)[0]}/"]
        for place, fact in enumerate(facts[:4]):
            below, beside = (place, 0) if len(facts) <= 2 else divmod(place, 2)
            picture.text(box.x + 12 + beside * 180, box.y + 45 + below * 20, fact)


def _references(picture: Drawing, app: App, *, top: float) -> None:
    names = list(nested_stacks(app))
    edges = references(app)
    picture.text(MARGIN, top + 14, "References between the nested stacks", "name")
    picture.text(
        MARGIN,
        top + 34,
        f"{len(edges)} pairs. An arrow leads from a stack to an earlier one whose outputs it uses; wider means more.",
        "soft",
    )
    step = (WIDTH - 2 * MARGIN - 90) / (len(names) - 1)
    baseline = top + 224
    place: Callable[[str], float] = lambda name: MARGIN + 45 + names.index(name) * step  # noqa: E731
    for (user, used), outputs in sorted(edges.items()):
        start, end = place(user), place(used)
        # Arrows leave a stack on its left and arrive spread out on the right, so that they do not hide each other.
        distance = names.index(user) - names.index(used)
        end += 3 + 1.6 * distance
        start -= 4
        rise = 20 + 20 * distance
        tip = f"{file_stem(user)} uses {outputs} output{'s' if outputs > 1 else ''} of {file_stem(used)}"
        picture.path(
            f"M{_round(start)} {baseline - 8} C{_round(start - 6)} {_round(baseline - rise)} "
            f"{_round(end + 6)} {_round(baseline - rise)} {_round(end)} {baseline - 9}",
            f"reference w{min(outputs, 5)}",
            head="reference",
            tip=tip,
        )
    for name in names:
        picture.circle(place(name), baseline, 5, "dot")
        picture.text(place(name), baseline + 24, file_stem(name), "strong", anchor="middle")


def _round(value: float) -> float:
    return round(value, 1)


def _lane(picture: Drawing, box: Box, color: str, title: str, *lines: str) -> None:
    picture.rectangle(box, color, radius=6)
    picture.text(box.x + 10, box.y + 20, color, f"ink-{color}")
    picture.text(box.x + (44 if color == "blue" else 54), box.y + 20, title, "strong")
    for row, line in enumerate(lines):
        picture.text(box.x + 10, box.y + 40 + row * 19, line)


def _node(column: Box, y: float, height: float) -> Box:
    return Box(x=column.x + 10, y=y, width=column.width - 20, height=height)


def _of(stack: Stack, *types: str) -> list[Resource]:
    return [resource for resource in stack.resources.values() if resource.type in types]


def _only(stack: Stack, kind: str) -> Resource:
    found = _of(stack, kind)
    assert len(found) == 1, f"{len(found)} of {kind}; the picture has a place for one"
    return found[0]


def _in_lane(stack: Stack, kind: str, color: str) -> Resource:
    found = [each for each in _of(stack, kind) if environment_of(each) == color]
    assert len(found) == 1, f"{len(found)} of {kind} are tagged {color}; the picture has a place for one"
    return found[0]


def _shares(routing: Stack) -> dict[str, str]:
    """Weight of each environment in the listener rule."""
    rule = _only(routing, "AWS::ElasticLoadBalancingV2::ListenerRule")
    shares = {}
    for group in rule["Actions.0.ForwardConfig.TargetGroups"].items():
        (target,) = {reference.resource for reference in group["TargetGroupArn"].references()}
        shares[environment_of(target)] = group["Weight"].text
    return shares


def _share(weight: str) -> str:
    return "request" if float(weight) > 0 else "idle"


def _writes(database: Stack, color: str) -> bool:
    """Whether the bootstrap leaves the accounts of the database of ``color`` open."""
    (bootstrap,) = (each for each in _of(database, "Custom::DatabaseBootstrap") if each["Environment"].text == color)
    return bootstrap["WriterAtCreation"].flag is True


def _tag(resource: Resource, key: str) -> str:
    tags = resource.definition["Properties"]["Tags"]
    return next((str(tag["Value"]) for tag in tags if tag["Key"] == key), "")


def _count(stack: Stack, line: Line) -> str:
    one, several, types = line
    number = len(_of(stack, *types))
    return f"{number} {one if number == 1 else several}"


def _commonest(stack: Stack) -> list[str]:
    kinds = Counter(resource.type.split("::", 1)[-1].replace("::", " ") for resource in stack.resources.values())
    return [f"{number} {kind}" for kind, number in sorted(kinds.items(), key=lambda each: (-each[1], each[0]))]


def _size(stack: Stack) -> str:
    number = len(stack.resources)
    return f"{number} resource{'' if number == 1 else 's'}"


def _tip(stack: Stack) -> str:
    return str(stack.template.get("Description", ""))
