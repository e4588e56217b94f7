"""Consents: a recipient's record, and the changes that a statement makes to it. It reads no table."""
