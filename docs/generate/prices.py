"""List prices on demand in us-east-1, in US dollars.

They are typed in from AWS's public price lists as remembered, not read from a pricing API: check one before you rely
on it. Where a price is an estimate, the note says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

AS_OF = "November 2026"
"""Month to which the table was believed to be right."""

HOURS = 730
"""Hours in a month, as AWS's own calculator counts them."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one ``unit`` of something costs.

    Attributes:
        what: the thing.
        unit: what is counted; an hour of one, a month of one, a gigabyte.
        usd: price of one unit in US dollars.
        note: what else has to be known about it.
    """

    what: str
    unit: str
    usd: Decimal
    note: str = ""

    @property
    def monthly(self) -> Decimal:
        """Price for a month of one, where the unit is an hour or a month."""
        return self.usd * HOURS if self.unit.endswith("hour") else self.usd


def _price(what: str, unit: str, usd: str, note: str = "") -> Price:
    return Price(what=what, unit=unit, usd=Decimal(usd), note=note)


PRICES: Mapping[str, Price] = {
    "alarm": _price("CloudWatch alarm", "metric watched, month", "0.10", "an alarm on an expression watches several"),
    "alb": _price("Application Load Balancer", "hour", "0.0225"),
    "aurora:db.r6g.large": _price("Aurora MySQL db.r6g.large, Aurora Standard", "instance-hour", "0.26"),
    "aurora:db.r7g.large": _price("Aurora MySQL db.r7g.large, Aurora Standard", "instance-hour", "0.276"),
    "composite": _price("CloudWatch composite alarm", "alarm, month", "0.50"),
    "dashboard": _price("CloudWatch dashboard", "dashboard, month", "3.00"),
    "dms:dms.r6i.large": _price(
        "DMS dms.r6i.large in one zone, 100 GB included",
        "instance-hour",
        "0.23",
        "estimated from the ratio of other DMS classes to their EC2 class; Multi-AZ counts twice",
    ),
    "endpoint": _price("PrivateLink interface endpoint", "zone-hour", "0.01"),
    "fargate:gb": _price("Fargate memory, Linux on x86", "GB-hour", "0.004445"),
    "fargate:vcpu": _price("Fargate CPU, Linux on x86", "vCPU-hour", "0.04048"),
    "health:aws": _price("Route 53 health check of an AWS endpoint", "check, month", "0.50"),
    "health:aws-option": _price("Option of a check of an AWS endpoint: HTTPS, fast interval", "option, month", "1.00"),
    "health:calculated": _price("Route 53 calculated health check", "check, month", "0.50", "estimated"),
    "health:other": _price("Route 53 health check of any other endpoint", "check, month", "0.75"),
    "health:other-option": _price(
        "Option of a check of any other endpoint: HTTPS, fast interval", "option, month", "2.00"
    ),
    "ipv4": _price("Public IPv4 address", "address-hour", "0.005"),
    "key": _price("KMS customer-managed key", "key, month", "1.00", "each of its first two rotations adds as much"),
    "nat": _price("NAT gateway", "hour", "0.045"),
    "secret": _price("Secrets Manager secret", "secret, month", "0.40"),
    "transit": _price("Transit gateway attachment", "hour", "0.05"),
    "waf:acl": _price("WAF web ACL", "ACL, month", "5.00"),
    "waf:rule": _price("WAF rule or managed rule group", "rule, month", "1.00"),
    "use:aurora-io": _price("Aurora Standard I/O", "million", "0.20"),
    "use:aurora-storage": _price("Aurora Standard storage", "GB, month", "0.10"),
    "use:backup": _price("Backup of Aurora beyond the size of the cluster", "GB, month", "0.021"),
    "use:lcu": _price("Load balancer capacity unit", "LCU-hour", "0.008", "25 new connections a second, among others"),
    "use:logs": _price("CloudWatch Logs, taken in", "GB", "0.50"),
    "use:metric": _price("Container Insights, enhanced", "metric, month", "0.07"),
    "use:nat": _price("NAT gateway, data", "GB", "0.045"),
    "use:waf": _price("WAF requests", "million", "0.60"),
}


def price_of(key: str) -> Price:
    """The price under ``key``.

    Raises:
        ValueError: there is none yet.
    """
    try:
        return PRICES[key]
    except KeyError:
        raise ValueError(f"docs/generate/prices.py has no price for {key}") from None
