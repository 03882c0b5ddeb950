"""A server of OpenAI's kind that behaves badly, in its own process; it logs what it does before it does it.

    python hostile_server.py PORT LOG '{"seconds": 0.1, "faults": {"busy": 0.2, "garbage": 0.1}}'

Each line of the log is one request: what was done with it, a hash of its messages, the tokens of prompt and
answer, how many were on their way, and the key. An answer is paid the moment that it is made, a fault never.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

Reply = tuple[int, dict[str, str], bytes]


def text_of(body: dict[str, Any]) -> str:
    """Return the answer to a request, which is the same each time."""
    return f"answer {digest_of(body)} to: {body['messages'][-1]['content'][:40]}"


def digest_of(body: dict[str, Any]) -> str:
    said = json.dumps([body["model"], body["messages"], body.get("seed")])
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def usage_of(body: dict[str, Any]) -> tuple[int, int]:
    read = sum(len(turn["content"].split()) for turn in body["messages"])
    return read + 3, len(text_of(body).split())


def answer(body: dict[str, Any]) -> dict[str, Any]:
    read, written = usage_of(body)
    choice = {"index": 0, "message": {"role": "assistant", "content": text_of(body)}, "finish_reason": "stop"}
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return {"id": "x", "object": "chat.completion", "model": "served", "choices": [choice], "usage": usage}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seconds = 0.0
    faults: ClassVar[dict[str, float]] = {}
    log = ""
    seen: ClassVar[Counter[str]] = Counter()
    at_once = 0
    lock = threading.Lock()

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        digest = digest_of(body)
        with Handler.lock:
            Handler.seen[digest] += 1
            Handler.at_once += 1
            draw = random.Random(f"{digest} {Handler.seen[digest]}").random()
        try:
            self._do(body, digest, draw)
        finally:
            with Handler.lock:
                Handler.at_once -= 1

    def _do(self, body: dict[str, Any], digest: str, draw: float) -> None:
        kind = "paid"
        for fault, share in self.faults.items():
            if draw < share:
                kind = fault
                break
            draw -= share
        if kind in ("busy", "failed"):  # said at once
            self._note(kind, digest, body)
            status, headers = (429, {"Retry-After": "0.2"}) if kind == "busy" else (500, {})
            self._send(status, b'{"error": {"message": "not now"}}', headers)
            return
        time.sleep(self.seconds)
        self._note(kind, digest, body)
        good = json.dumps(answer(body)).encode()
        match kind:
            case "garbage":
                self._send(200, good[: len(good) // 2])
            case "empty":
                self._send(200, b'{"choices": [], "usage": null}')
            case "broken":
                self.send_response(200)
                self.send_header("Content-Length", str(len(good)))
                self.end_headers()
                self.wfile.write(good[: len(good) // 2])
                self.wfile.flush()
                self.connection.close()
                self.close_connection = True
            case "drip":  # a byte now and then, and never an answer
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                for _ in range(100):
                    self.wfile.write(b" ")
                    time.sleep(0.05)
                self.close_connection = True
            case "silent":
                time.sleep(5)
                self.close_connection = True
            case _:
                self._send(200, good)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _note(self, kind: str, digest: str, body: dict[str, Any]) -> None:
        read, written = usage_of(body)
        line = f"{kind} {digest} {read} {written} {Handler.at_once} {self.headers['Authorization']}\n"
        with open(self.log, "a") as file:  # one write of few bytes: none is torn
            file.write(line)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def main() -> None:
    options = json.loads(sys.argv[3])
    Handler.log = sys.argv[2]
    Handler.seconds = options.get("seconds", 0.0)
    Handler.faults = options.get("faults", {})
    ThreadingHTTPServer.request_queue_size = 64
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
