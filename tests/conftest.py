"""Fixtures that several test files share."""

from tests.stack_template import other_stack, stack

__all__ = ["other_stack", "stack"]
