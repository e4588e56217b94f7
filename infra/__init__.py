"""The infrastructure: the construct `QuietHours` with its parts, and the stack that places it."""
