"""Delivery: what the worker does with one bundle."""
