"""Makes channels cheaper to build in unit tests."""

from __future__ import annotations

import os
import ssl
from functools import cache

_make_context = ssl.create_default_context


@cache
def _shared_context(_certificates: str | None) -> ssl.SSLContext:
    return _make_context()


def _context_of_a_client() -> ssl.SSLContext:
    """Read the certificates that a client trusts once in a process: it takes 50 ms for each channel otherwise."""
    return _shared_context(os.environ.get("SSL_CERT_FILE"))


ssl.create_default_context = _context_of_a_client  # type: ignore[assignment]
