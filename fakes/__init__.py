"""Fakes of the providers, on 127.0.0.1: they answer as the providers' documentation says, and write down what they got.

None of them has been compared with the real one: no live account was used.
"""
