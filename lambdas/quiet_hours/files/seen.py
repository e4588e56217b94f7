"""The values that a file has had, and their lines, in bounded memory: to find what stands in it twice."""

from __future__ import annotations

from array import array
from hashlib import blake2b
from typing import NamedTuple

SEEN_MAX = 1_000_000
"""The number of values of a file that are remembered. They take 32 MiB, and 16 MB where they are saved."""

_SLOTS_MIN = 4096


class Seen:
    """Values as digests of 8 bytes, each with the first line on which it stood.

    Two of a million values share a digest once in forty million files. `missed_from`: the first line whose value was
    not remembered because there were too many, or 0.
    """

    def __init__(self, saved: bytes = b"", most: int = SEEN_MAX) -> None:
        """Begin with what `to_bytes` has saved."""
        self._most = most
        self._digests, self._lines = array("Q", [0]) * _SLOTS_MIN, array("Q", [0]) * _SLOTS_MIN
        self._count = 0
        numbers = array("Q", saved)
        self.missed_from = numbers[0] if numbers else 0
        half = len(numbers) // 2
        for digest, line in zip(numbers[1 : half + 1], numbers[half + 1 :], strict=True):
            self._put(digest, line)

    def earlier_line(self, value: str, line: int) -> int | None:
        """Remember that `value` stands on `line`. Return the earlier line on which it stood, if any.

        Asking again for the same line gives the same answer: a run that crashed may have asked already.
        """
        digest = int.from_bytes(blake2b(value.encode(), digest_size=8).digest(), "little") or 1
        slot = self._slot(digest)
        if not self._digests[slot]:
            if self._count < self._most:
                self._put(digest, line)
            else:
                self.missed_from = min(self.missed_from or line, line)
            return None
        if self._lines[slot] < line:
            return self._lines[slot]
        self._lines[slot] = line
        return None

    def to_bytes(self) -> bytes:
        numbers = array("Q", [self.missed_from])
        numbers.extend(digest for digest in self._digests if digest)
        numbers.extend(line for line in self._lines if line)
        return numbers.tobytes()

    def __len__(self) -> int:
        return self._count

    def _slot(self, digest: int) -> int:
        """The place of a digest in the table, or the free place where it belongs."""
        slot = digest % len(self._digests)
        while self._digests[slot] not in (0, digest):
            slot = (slot + 1) % len(self._digests)
        return slot

    def _put(self, digest: int, line: int) -> None:
        if 2 * (self._count + 1) > len(self._digests):
            self._grow()
        slot = self._slot(digest)
        self._digests[slot], self._lines[slot] = digest, line
        self._count += 1

    def _grow(self) -> None:
        digests, lines = self._digests, self._lines
        self._digests, self._lines = (array("Q", [0]) * (2 * len(digests)) for _ in range(2))
        for digest, line in zip(digests, lines, strict=True):
            if digest:
                slot = self._slot(digest)
                self._digests[slot], self._lines[slot] = digest, line


class SeenInFile(NamedTuple):
    """The ids that the rows of a file have given, and the addresses of those that were accepted."""

    ids: Seen
    addresses: Seen
