"""The whole pipeline, on the embedded AWS, deployed as `cdk deploy` deploys it."""
