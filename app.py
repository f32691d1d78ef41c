#!/usr/bin/env python3
"""Entry point that the CDK command line runs (see cdk.json)."""

import sys
from pathlib import Path

import aws_cdk as cdk

# constructs/ is a source root, not a package: see "Layout" in README.md.
sys.path.append(str(Path(__file__).parent / "constructs"))

from policy.packs import add_packs
from stacks.config import ConfigurationError
from stacks.context import load
from stacks.root import PaymentsStack

app = cdk.App()
try:
    config = load({key: app.node.try_get_context(key) for key in ("stage", "stages")})
except ConfigurationError as error:
    sys.exit(f"The configuration in cdk.json has mistakes:\n{error}")
PaymentsStack(app, config.prefix, config=config)
add_packs(app)
app.synth()
