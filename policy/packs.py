"""The policy packs that every synthesis runs."""

from __future__ import annotations

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks, PCIDSS321Checks


def add_packs(app: cdk.App) -> None:
    """Check ``app`` with cdk-nag's AwsSolutions and PCI DSS 3.2.1 when it is synthesized."""
    cdk.Validations.of(app).add_plugins(
        AwsSolutionsChecks(app, verbose=True),
        PCIDSS321Checks(app, verbose=True),
    )
