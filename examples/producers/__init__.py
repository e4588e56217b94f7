"""Producers in other people's code: five statements or fewer that ask for a notification (docs/producers.md)."""
