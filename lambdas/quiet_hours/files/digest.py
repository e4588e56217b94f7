"""A digest of a file's bytes that can be made in several runs: it is the same however the bytes were uploaded."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from .lines import CHUNK_BYTES

PART_BYTES = 8 * 1024 * 1024
"""The digest is known after every so many bytes. An unfinished SHA-256 could not be saved between two runs."""

START = bytes(32)


def next_digest(digest: bytes, read: Callable[[int], bytes], size: int) -> bytes:
    """The digest of the file up to the end of its next part, which has `size` bytes: SHA-256 over the digest of what
    stands before it and over its own bytes. `read(n)` returns up to n bytes.

    Raises `EOFError` if the part ends early.
    """
    hashed = sha256(digest)
    while size:
        if not (chunk := read(min(size, CHUNK_BYTES))):
            raise EOFError("the file ends before its size")
        hashed.update(chunk)
        size -= len(chunk)
    return hashed.digest()
