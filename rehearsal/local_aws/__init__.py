"""A local AWS into which the real CDK command line deploys the stage ``local``, unchanged.

with DatabaseChain.start(("legacy", "blue", "green")) as databases:
    with LocalCloud(databases, folder=Path("local"), tell=print) as cloud:
        cloud.start()
        cloud.deploy()
        cloud.client("elbv2").describe_rules(RuleArns=[cloud.listener_rule_arn])
"""

from rehearsal.local_aws.cdk import CdkError
from rehearsal.local_aws.cloud import DeployedStage, FunctionError, LocalCloud
from rehearsal.local_aws.processes import ProcessError

__all__ = ["CdkError", "DeployedStage", "FunctionError", "LocalCloud", "ProcessError"]
