"""Consents: what a recipient has agreed to, and what a statement changes about it. Pure: no table is read here."""
