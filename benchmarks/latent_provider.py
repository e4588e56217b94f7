"""A provider that answers every POST with 204 after a fixed time, for any number of connections at once.

    python -m benchmarks.latent_provider LATENCY_MS

It prints its port. `GET /` answers with the counts so far: `{"posts": n, "notifications": m, "ids": distinct ids}`. A
body is one notification or an array of them. It has one thread and parses no more than that, since the worker is to be
measured and not the provider.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import ClassVar


class Provider(asyncio.Protocol):
    """One connection. It stays open for many requests, one after another."""

    latency_s = 0.0
    posts = 0
    ids: ClassVar[list[str]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields.get(b"content-length", b"0"))
        if len(rest) < length:
            return
        self._received = rest[length:]
        if head.startswith(b"GET"):
            self._count()
        else:
            self._take(rest[:length])

    def _take(self, body: bytes) -> None:
        parsed = json.loads(body)
        Provider.posts += 1
        Provider.ids += [each["id"] for each in (parsed if isinstance(parsed, list) else [parsed])]
        answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        if Provider.latency_s:
            asyncio.get_running_loop().call_later(Provider.latency_s, self._transport.write, answer)
        else:
            self._transport.write(answer)

    def _count(self) -> None:
        counts = {"posts": self.posts, "notifications": len(self.ids), "ids": len(set(self.ids))}
        body = json.dumps(counts).encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


async def serve(protocol: type[asyncio.Protocol]) -> None:
    """Serve on a free port, which it prints, until ended."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    Provider.latency_s = float(sys.argv[1]) / 1000
    asyncio.run(serve(Provider))
