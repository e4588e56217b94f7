"""An SQS that takes a fixed time for any call, for any number of connections at once.

    python -m benchmarks.latent_sqs LATENCY_MS

It prints its port. It keeps queues in memory and knows the calls that a release makes. What it needs itself to parse
and to answer is part of the fixed time. Only a call that needs longer than that takes longer.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from local.aws import client

from .latent_provider import serve
from .world import World, make_queues

MESSAGES_MAX = 10


class Queue:
    """Messages that can be received, and those that were received and not deleted, by their handles."""

    def __init__(self) -> None:
        self.messages: deque[dict[str, Any]] = deque()
        self.received: dict[str, dict[str, Any]] = {}


class Sqs(asyncio.Protocol):
    """One connection. It stays open for many requests, one after another."""

    latency_s = 0.0
    queues: ClassVar[dict[str, Queue]] = {}
    number_sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._chunks: list[bytes] = []
        self._missing: int | None = None
        self._operation = ""

    def data_received(self, data: bytes) -> None:
        began = asyncio.get_running_loop().time()
        if self._missing is None:
            data = b"".join([*self._chunks, data])
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                self._chunks = [data]
                return
            fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
            fields = {name.lower(): value for name, value in fields.items()}
            self._operation = fields[b"x-amz-target"].decode().partition(".")[2]
            self._missing, self._chunks, data = int(fields[b"content-length"]), [], rest
            if fields.get(b"expect"):
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._chunks.append(data)
        self._missing -= len(data)
        if self._missing <= 0:
            body, self._chunks, self._missing = b"".join(self._chunks), [], None
            answer = json.dumps(getattr(self, self._operation)(json.loads(body)), ensure_ascii=False).encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n"
            loop = asyncio.get_running_loop()
            loop.call_at(began + Sqs.latency_s, self._transport.write, head % len(answer) + answer)

    def CreateQueue(self, asked: dict[str, Any]) -> dict[str, Any]:
        url = f"http://latent/{asked['QueueName']}"
        self.queues[url] = Queue()
        return {"QueueUrl": url}

    def DeleteQueue(self, asked: dict[str, Any]) -> dict[str, Any]:
        del self.queues[asked["QueueUrl"]]
        return {}

    def SendMessage(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"MessageId": self._put(asked["QueueUrl"], asked)}

    def SendMessageBatch(self, asked: dict[str, Any]) -> dict[str, Any]:
        taken = [{"Id": each["Id"], "MessageId": self._put(asked["QueueUrl"], each)} for each in asked["Entries"]]
        return {"Successful": taken, "Failed": []}

    def ReceiveMessage(self, asked: dict[str, Any]) -> dict[str, Any]:
        queue = self.queues[asked["QueueUrl"]]
        count = min(len(queue.messages), asked.get("MaxNumberOfMessages", 1), MESSAGES_MAX)
        messages = [queue.messages.popleft() for _ in range(count)]
        queue.received |= {each["ReceiptHandle"]: each for each in messages}
        return {"Messages": messages} if messages else {}

    def DeleteMessageBatch(self, asked: dict[str, Any]) -> dict[str, Any]:
        queue = self.queues[asked["QueueUrl"]]
        for each in asked["Entries"]:
            del queue.received[each["ReceiptHandle"]]
        return {"Successful": [{"Id": each["Id"]} for each in asked["Entries"]], "Failed": []}

    def _put(self, queue_url: str, message: dict[str, Any]) -> str:
        Sqs.number_sent += 1
        id = str(Sqs.number_sent)
        self.queues[queue_url].messages.append({"MessageId": id, "ReceiptHandle": id, "Body": message["MessageBody"]})
        return id


@contextmanager
def latent(latency_ms: float) -> Iterator[World]:
    """Run such an SQS in a process of its own for the length of a block."""
    command = [sys.executable, "-m", "benchmarks.latent_sqs", str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            sqs = client(f"http://127.0.0.1:{int(process.stdout.readline())}", "sqs")
            yield World(sqs, None, make_queues(sqs))
        finally:
            process.kill()


if __name__ == "__main__":
    Sqs.latency_s = float(sys.argv[1]) / 1000
    asyncio.run(serve(Sqs))
