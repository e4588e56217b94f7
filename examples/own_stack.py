"""Quiet Hours in somebody else's stack. Their FIFO queue and their topic are ways in.

cdk synth --app "python -m examples.own_stack"
"""

from aws_cdk import App, CfnOutput, Duration, Stack
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.props import QuietHoursProps
from infra.quiet_hours import QuietHours


class ShopStack(Stack):
    """A shop that puts order messages on its queue and publishes news on its topic."""

    def __init__(self, scope: Construct, id_: str) -> None:
        super().__init__(scope, id_)
        self.failed_orders = sqs.Queue(self, "FailedOrders", fifo=True, enforce_ssl=True)
        self.orders = sqs.Queue(
            self,
            "Orders",
            fifo=True,
            enforce_ssl=True,
            visibility_timeout=Duration.minutes(3),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.failed_orders, max_receive_count=100),
        )
        self.news = sns.Topic(self, "News", enforce_ssl=True)
        self.quiet_hours = QuietHours(
            self,
            "QuietHours",
            QuietHoursProps(sender_name="온결", queues=[self.orders], topics=[self.news]),
        )
        # Our commands read these: make redrive, make consents-import.
        for name, value in self.quiet_hours.outputs().items():
            CfnOutput(self, name, value=value)


if __name__ == "__main__":
    app = App()
    ShopStack(app, "Shop")
    app.synth()
