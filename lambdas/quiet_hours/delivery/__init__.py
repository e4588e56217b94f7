"""Delivery: the way of one bundle through the worker."""
