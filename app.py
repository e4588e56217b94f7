"""The CDK app: `cdk deploy` puts one deployment into an account, under the name that the context gives it."""

import sys

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from infra.config import Config, flag
from infra.pipeline_stack import PipelineStack
from infra.policies import shown_policies, shown_queues

app = App()
try:
    config = Config.from_context(app.node)
    nag = flag(app.node, "nag")
except ValueError as error:
    sys.exit(str(error))
if config.quiet_hours.wait_queues > 1:  # the CDK's command line does not show what is only an information
    print(shown_queues(config.quiet_hours.policy, config.quiet_hours.wait_queues), file=sys.stderr)
if config.quiet_hours.policy.further:
    print(shown_policies(config.quiet_hours.policy), file=sys.stderr)
try:
    PipelineStack(app, config.stack_name, config)
except ValueError as error:
    sys.exit(str(error))
if nag:
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
app.synth()
