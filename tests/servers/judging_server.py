"""A served judge of one manner, or a writer of paraphrases, in its own process; it logs each prompt first.

python judging_server.py LOG MANNER [SECONDS]
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BLOCK = r"\[{0}\]\n(.*?)\n\[End of"


def parts(prompt: str) -> tuple[str, str, str]:
    """Return the request ('' where it is not shown) and both answers."""
    found = [re.search(BLOCK.format(name), prompt, re.DOTALL) for name in ("Request", "Answer A", "Answer B")]
    request, first, second = (match[1] if match else "" for match in found)
    return request, first, second


def by(value: Callable[[str], float]) -> Callable[[str, str, str], str]:
    def judge(_: str, first: str, second: str) -> str:
        gap = value(first) - value(second)
        return "tie" if not gap else "A" if gap > 0 else "B"

    return judge


def sums(request: str, first: str, second: str) -> str:
    """The right sum wins, and nothing can be told without the request."""
    known = re.findall(r"\d+", request)
    right = [str(sum(map(int, known))) in re.findall(r"\d+", answer) for answer in (first, second)]
    return "tie" if not known or right[0] == right[1] else "A" if right[0] else "B"


WORDS = {
    "A": ["A", "Answer A", "[[A]]", '{"winner": "A"}', "**A.**", "A>>B", "Answer A is better. It is right."],
    "B": ["B", "Response B", "[[B]]", '{"verdict": "Answer B"}', "(B)", "A<B", "I prefer Answer B."],
    "tie": ["tie", "[[C]]", "It is a tie.", "Both answers are equally good.", "A=B", "Tie!", "neither"],
}


def wordy(request: str, first: str, second: str) -> str:
    said = WORDS[sums(request, first, second)]
    return said[len(request + first + second) % len(said)]


MANNERS: dict[str, Callable[[str, str, str], str]] = {
    "first": lambda *_: "A",
    "second": lambda *_: "B",
    "tie": lambda *_: "tie",
    "longer": by(len),
    "numbers": by(lambda answer: sum(map(int, re.findall(r"\d+", answer)))),  # never mind the request
    "sums": sums,
    "wordy": wordy,
    "garbage": lambda *_: "As a language model I find that both have much to say. A good one says more.",
    "coin": lambda *texts: "AB"[hashlib.sha256(repr(texts).encode()).digest()[0] % 2],
    "grade": lambda request, *_: str(3 + len(request) % 5),
    "seven": lambda *_: "7",
    "refuse": lambda *_: "",
}


# What a writer says that is asked for "Write the plural of the noun." in a manner; four can be used.
WRITTEN = {
    "in plain words": "Write down the plural form of the noun.",
    "as briefly as nothing is lost": "Write the noun's plural.",
    "formally": "New description: Kindly write the plural of the given noun.",
    "as to a friend": "write the plural of the  NOUN.",
    "as an order": "Cups.",
    "as a question": "As an AI language model I can write the plural of a noun.",
    "with its sentences in another order": "",
    "in short sentences": "You see a noun. Write its plural.",
    "as one sentence": "Write the plural of the noun. " * 9,
    "politely": "Please be so kind as to say what several of these things are called.",
}


def paraphrase(prompt: str) -> str:
    return WRITTEN[re.findall(r"Write only the new description, (.*)\.", prompt)[-1]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        time.sleep(float(sys.argv[3]) if len(sys.argv) > 3 else 0)
        with open(sys.argv[1], "a") as log:
            log.write(f"{hashlib.sha256(prompt.encode()).hexdigest()} {body['temperature']}\n")
        manner, finish = sys.argv[2], "stop"
        said = paraphrase(prompt) if manner == "writes" else MANNERS[manner](*parts(prompt))
        if manner == "refuse":
            said, finish = "I cannot", "content_filter"
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": finish}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": 1, "total_tokens": len(prompt) + 1}
        reply = json.dumps({"id": "x", "model": "judge", "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path, manner: str, seconds: float = 0) -> Iterator[str]:
    """Start it, and yield its address; `folder` / "log" holds what it was asked."""
    command = [sys.executable, __file__, str(folder / "log"), manner, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


if __name__ == "__main__":
    ThreadingHTTPServer.request_queue_size = 64
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
