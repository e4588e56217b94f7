"""A function of the pipeline: its log group, its role with only the permissions it is given, its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, RemovalPolicy, Token
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.permissions import allow

RUNTIME = lambda_.Runtime.PYTHON_3_14

# Lambda gives CPU in proportion to memory. One Python process can use one core, and the worker does: it records every
# notification between two network calls. The others mostly wait for SQS; their size gives a cold start of about 1 s.
ONE_CORE_MB = 1769
DEFAULT_MB = 1024

_ARCHITECTURES = {"arm64": lambda_.Architecture.ARM_64, "x86_64": lambda_.Architecture.X86_64}
ENVIRONMENT_BYTES_MAX = 4096  # https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
REFERENCE_BYTES = 140  # the longest of our queue URLs and ARNs: their text is known only when the stack is deployed


def pipeline_function(
    scope: Construct,
    name: str,
    *,
    code: lambda_.Code,
    environment: Mapping[str, str],
    timeout_s: int,
    permissions: Sequence[iam.PolicyStatement],
    architecture: str = "arm64",
    memory_mb: int = DEFAULT_MB,
    recursive_loop: lambda_.RecursiveLoop = lambda_.RecursiveLoop.TERMINATE,
) -> lambda_.Function:
    """Make the function whose handler is `lambdas.<name>.handler`. Beyond `permissions` it may write its own log.

    Raises `ValueError` if its environment may be larger than Lambda allows.
    """
    _check_size(environment)
    log_group = logs.LogGroup(
        scope, f"{name}Logs", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY
    )
    log = allow(["logs:CreateLogStream", "logs:PutLogEvents"], log_group.log_group_arn)
    role = iam.Role(
        scope,
        f"{name}Role",
        assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
        # Inline, so that no function and no event source exists before its permissions do.
        inline_policies={"Permissions": iam.PolicyDocument(statements=[log, *permissions])},
    )
    service = name.lower()
    return lambda_.Function(
        scope,
        name,
        code=code,
        handler=f"lambdas.{service}.handler",
        runtime=RUNTIME,
        architecture=_ARCHITECTURES[architecture],
        memory_size=memory_mb,
        timeout=Duration.seconds(timeout_s),
        environment={**environment, "POWERTOOLS_SERVICE_NAME": service, "POWERTOOLS_LOG_LEVEL": "INFO"},
        log_group=log_group,
        role=role,
        recursive_loop=recursive_loop,
    )


def _check_size(environment: Mapping[str, str]) -> None:
    size_bytes = sum(
        len(name) + (REFERENCE_BYTES if Token.is_unresolved(value) else len(value.encode()))
        for name, value in environment.items()
    )
    if size_bytes > ENVIRONMENT_BYTES_MAX:
        raise ValueError(
            f"the functions' environment may take {size_bytes} bytes, and Lambda allows {ENVIRONMENT_BYTES_MAX}: "
            "shorten senderName or runbookUrl"
        )
