"""Generators of files in the repository: the OpenAPI document, the sample events and the picture of a night."""
