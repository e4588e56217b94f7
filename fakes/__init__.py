"""Fakes of the providers, on 127.0.0.1. They answer as the providers' documentation says, and record what they get.

None of them has been compared with the real provider: no live account was used.
"""
