"""Generators of files that the repository keeps: the OpenAPI document, the sample events."""
