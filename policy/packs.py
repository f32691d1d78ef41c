"""The policy packs that every synthesis runs."""

from __future__ import annotations

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks, PCIDSS321Checks

from policy.plugin import PciDss401Checks


def add_packs(app: cdk.App) -> None:
    """Check ``app`` when it is synthesized: cdk-nag's AwsSolutions and PCI DSS 3.2.1, and our PCI DSS 4.0.1."""
    cdk.Validations.of(app).add_plugins(
        AwsSolutionsChecks(app, verbose=True),
        PCIDSS321Checks(app, verbose=True),
        PciDss401Checks(),
    )
