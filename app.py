"""The CDK app: `cdk deploy` puts one deployment into an account, under the name that the context gives it."""

import sys

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from infra.config import Config, flag
from infra.pipeline_stack import PipelineStack

app = App()
try:
    config = Config.from_context(app.node)
    nag = flag(app.node, "nag")
except ValueError as error:
    sys.exit(str(error))
PipelineStack(app, config.stack_name, config)
if nag:
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
app.synth()
