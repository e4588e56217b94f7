"""The stack: what AWS is asked for, and who may do what to it."""
