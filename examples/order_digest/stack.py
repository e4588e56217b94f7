"""Quiet Hours with a source: the order digest is started at 10:00 in Seoul, and what it returns is accepted.

cdk synth --app "python -m examples.order_digest.stack"
"""

from pathlib import Path

from aws_cdk import App, CfnOutput, Duration, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from examples.order_digest import digest
from infra.props import QuietHoursProps
from infra.quiet_hours import QuietHours


class DigestStack(Stack):
    """A shop that tells its sellers once a day what they have sold."""

    def __init__(self, scope: Construct, id_: str) -> None:
        super().__init__(scope, id_)
        self.quiet_hours = QuietHours(self, "QuietHours", QuietHoursProps(sender_name="온결"))
        self.digest = lambda_.Function(
            self,
            "Digest",
            code=lambda_.Code.from_asset(str(Path(__file__).parent), exclude=["stack.py", "__pycache__"]),
            handler="digest.handler",
            runtime=lambda_.Runtime.PYTHON_3_14,
            timeout=Duration.minutes(1),
        )
        self.source = self.quiet_hours.add_source(digest.NAME, self.digest, at=digest.TIMES, timezone=digest.TIMEZONE)
        for name, value in self.quiet_hours.outputs().items():
            CfnOutput(self, name, value=value)


if __name__ == "__main__":
    app = App()
    DigestStack(app, "Shop")
    app.synth()
