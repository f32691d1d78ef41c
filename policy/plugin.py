"""The pack as a validation plugin of the CDK: one call for the whole app."""

import datetime
from collections.abc import Callable
from pathlib import Path

import aws_cdk as cdk
import jsii

import policy.rules  # noqa: F401  registers the rules
from policy.engine import EXPIRED_RULE, PACK, PACK_VERSION, REGISTRY, UNUSED_RULE, Finding, evaluate
from policy.templates import load_files


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


@jsii.implements(cdk.IPolicyValidationPlugin)
class PciDss401Checks:
    """PCI DSS 4.0.1 for `Validations.of(app).add_plugins(...)`.

    Reads the synthesized templates once. Findings that are acknowledged are reported too: the CDK then shows
    them in its report as acknowledged, with the reason. An expired acknowledgement is a finding of a rule of
    its own, because the CDK knows no dates.
    """

    def __init__(self, *, today: Callable[[], datetime.date] = _today) -> None:
        self._today = today

    @property
    def name(self) -> str:
        return PACK

    @property
    def version(self) -> str:
        return PACK_VERSION

    @property
    def rule_ids(self) -> list[str]:
        return list(REGISTRY.rules)

    def validate(self, context: cdk.IPolicyValidationContext) -> cdk.PolicyValidationPluginReport:
        app = load_files(
            (Path(stack.template_path), stack.stack_construct_path, stack.account_id, stack.region)
            for stack in context.stack_templates
        )
        evaluation = evaluate(app, REGISTRY.rules.values(), today=self._today())
        return cdk.PolicyValidationPluginReport(
            success=not evaluation.findings,
            violations=[_violation(finding) for finding in (*evaluation.findings, *evaluation.acknowledged)],
            metadata={"rules": str(len(evaluation.rules)), "resources": str(len(app.resources))},
        )


def _violation(finding: Finding) -> cdk.PolicyViolation:
    housekeeping = finding.rule.id in (EXPIRED_RULE, UNUSED_RULE)
    return cdk.PolicyViolation(
        rule_name=finding.id,
        description=f"{finding.message} PCI DSS 4.0.1: {', '.join(finding.rule.requirements)}.",
        fix=finding.rule.fix,
        # The CDK lets nobody acknowledge what is fatal: an acknowledgement of an acknowledgement has no end.
        severity="fatal" if housekeeping else "error",
        violating_resources=[
            cdk.PolicyViolatingResource(
                resource_logical_id=finding.resource.logical_id,
                template_path=str(finding.resource.stack.file),
                locations=[finding.path] if finding.path else [],
            )
        ],
        rule_metadata={"requirements": ", ".join(finding.rule.requirements), "title": finding.rule.title},
    )
