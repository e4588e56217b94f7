"""AWS's prices in us-east-1, on demand, without free tiers or discounts.

They were collected by 2026-11-23 from the pages named and from articles that quote these. The live pages were not read:
check them before you rely on a sum.
"""

from __future__ import annotations

from typing import NamedTuple

COLLECTED_BY = "2026-11-23"


class Price(NamedTuple):
    """The dollars per `unit`, and the page that states them."""

    dollars: float
    unit: str
    source: str


SQS_REQUEST = Price(0.40e-6, "request of up to 64 KiB, standard queue", "aws.amazon.com/sqs/pricing")
SQS_FIFO_REQUEST = Price(0.50e-6, "request of up to 64 KiB, FIFO queue", "aws.amazon.com/sqs/pricing")
LAMBDA_REQUEST = Price(0.20e-6, "invocation", "aws.amazon.com/lambda/pricing")
LAMBDA_GB_S = Price(0.0000133334, "GB-second on arm64", "aws.amazon.com/lambda/pricing")
DYNAMODB_WRITE = Price(0.625e-6, "write request unit", "aws.amazon.com/dynamodb/pricing/on-demand")
DYNAMODB_READ = Price(0.125e-6, "read request unit", "aws.amazon.com/dynamodb/pricing/on-demand")
SCHEDULE = Price(1.00e-6, "invocation by EventBridge Scheduler", "aws.amazon.com/eventbridge/pricing")
TRANSITION = Price(25.00e-6, "state transition, Standard workflow", "aws.amazon.com/step-functions/pricing")

PRICES = (
    SQS_REQUEST,
    SQS_FIFO_REQUEST,
    LAMBDA_REQUEST,
    LAMBDA_GB_S,
    DYNAMODB_WRITE,
    DYNAMODB_READ,
    SCHEDULE,
    TRANSITION,
)
