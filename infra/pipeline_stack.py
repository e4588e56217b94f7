"""The stack of this project's own app: it places the construct and writes the outputs."""

from __future__ import annotations

from aws_cdk import CfnOutput, Environment, Stack
from constructs import Construct

from infra.config import Config
from infra.quiet_hours import QuietHours


class PipelineStack(Stack):
    """One deployment of Quiet Hours."""

    def __init__(self, scope: Construct, id_: str, config: Config) -> None:
        super().__init__(
            scope,
            id_,
            description="Quiet Hours: holds notifications over night, releases them by day",
            env=Environment(account=config.account, region=config.region),
            tags=config.tags,
            termination_protection=config.termination_protection,
        )
        # CDK leaves "Default" out of logical ids and names, so everything is called as if the stack itself made it.
        quiet_hours = QuietHours(self, "Default", config.quiet_hours)
        for name, value in quiet_hours.outputs().items():
            CfnOutput(self, name, value=value)
