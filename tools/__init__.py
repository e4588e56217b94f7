"""Generators of files in the repository: the OpenAPI document and the sample events."""
