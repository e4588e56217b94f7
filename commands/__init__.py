"""Serves every command that works on a deployment, on this machine or in an account."""


class CommandError(Exception):
    """Raised when a command cannot do its work. The text is the sentence that the user sees."""
