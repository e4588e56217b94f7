"""Fixtures that several test files share."""

from tests.helpers.stack_template import other_stack, stack

__all__ = ["other_stack", "stack"]
