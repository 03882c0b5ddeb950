"""A served model, against a real server that is slow, busy, broken and dead: nothing is paid twice."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError, GenerationError, MissingExtra, RecipeError
from espalier.core.journal import Journal
from espalier.core.recipe import Choice
from espalier.core.records import Example, Generator, Media, Message, message
from espalier.core.spending import Price
from espalier.generate.author import Author, steps
from espalier.servers import courier, remote
from espalier.servers.remote import Remote, Server, remote_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOSTILE = Path(__file__).with_name("hostile_server.py")
GREEDY = Choice.model_validate({"kind": "greedy", "limit": 16})
PRICE = Price(2.0, 8.0)
KEY = "sk-not-to-be-written"
HASTY = (
    "import sys; sys.path.insert(0, sys.argv[1]); from espalier.servers import courier; "
    "courier.FIRST = 0.01; courier.main()"
)


def asked(count: int) -> list[Example]:
    prompts = [f"Question {number}: how long?" for number in range(count)]
    return [Example(str(n), "t", str(n), (message("user", p),), ("x",)) for n, p in enumerate(prompts)]


class Served:
    """A server process, which can be killed and started again on the same port."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.log, self.options = folder / "server.log", options
        self.port = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(HOSTILE), str(self.port), str(self.log), json.dumps(self.options)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def lines(self, kind: str) -> list[list[str]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split(maxsplit=5) for line in lines if line.startswith(f"{kind} ")]

    def paid(self) -> tuple[int, int, int]:
        """Return how many answers were paid for, with their tokens. None may be paid for twice."""
        lines = self.lines("paid")
        twice = [digest for digest, times in Counter(line[1] for line in lines).items() if times > 1]
        assert not twice
        return len(lines), sum(int(line[2]) for line in lines), sum(int(line[3]) for line in lines)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(**options: Any) -> Served:
        started.append(Served(tmp_path, options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def asking(server: Served, folder: Path, **terms: Any) -> Remote:
    own = {"secret": KEY, "price": PRICE, "timeout": 2.0, "patience": 20.0, "concurrency": 4, **terms}
    return remote_of(Server(server.url, **own), "served", Journal(folder / "journal.sqlite"))


def texts(generator: Generator, examples: list[Example], settings: Choice = GREEDY) -> dict[Any, str]:
    return {(c.example, c.sample): c.text for c in generator.generate(examples, settings)}


def check_counts(model: Remote, server: Served) -> None:
    """What is counted is what the server counted, to the token and the cent."""
    count, read, written = server.paid()
    total = model.spent()[""]
    assert (total.requests, total.read, total.written) == (count, read, written)
    assert total.money == pytest.approx(PRICE.of(read, written), rel=1e-12)


def test_it_answers_each_prompt_and_sample_and_asks_nothing_again(
    served: Callable[..., Served], tmp_path: Path
) -> None:
    server = served(seconds=0.05)
    sample = Choice.model_validate({"kind": "sample", "limit": 16, "samples": 2, "seed": 3, "top_k": 20})
    twice = [*asked(3), Example("other", "t", "0", asked(1)[0].messages, ("x",))]
    with asking(server, tmp_path) as model:
        first = texts(model.named("respond"), twice, sample)
        assert len(first) == 8
        assert first["other", 1] == first["0", 1] != first["0", 0]
        assert server.paid()[0] == 6
        assert max(int(line[4]) for line in server.lines("paid")) in (2, 3, 4)
        check_counts(model, server)
        assert set(model.spent()) == {"", "respond"}
    server.stop()
    with asking(server, tmp_path) as again:
        assert texts(again, twice, sample) == first
    server.start()
    replay = remote_of(Server(server.url), "served", again.journal, replay=True)
    assert texts(replay, twice, sample) == first
    with pytest.raises(GenerationError, match="holds 6 of 8 answers, and a replay asks nobody"):
        texts(replay, asked(4), sample)
    assert all(line[5] == f"Bearer {KEY}" for line in server.lines("paid"))
    assert not [file for file in tmp_path.rglob("*journal*") if KEY.encode() in file.read_bytes()]
    assert KEY not in repr(Server(server.url, KEY))


def test_a_server_with_every_fault_costs_no_row_and_nothing_twice(
    served: Callable[..., Served], tmp_path: Path
) -> None:
    faults = {"busy": 0.05, "garbage": 0.07, "empty": 0.05, "broken": 0.07, "failed": 0.07}
    server = served(seconds=0.02, faults=faults)
    with asking(server, tmp_path) as model:
        found = texts(model, asked(60))
        assert len(found) == 60
        check_counts(model, server)
        wasted = sum(len(server.lines(kind)) for kind in ("garbage", "empty", "broken"))
        assert all(server.lines(kind) for kind in faults)
        assert model.spent()[""].unsure == wasted
    replay = remote_of(Server(server.url), "served", model.journal, replay=True)
    assert texts(replay, asked(60)) == found


def test_a_server_may_die_and_come_back(served: Callable[..., Served], tmp_path: Path) -> None:
    server = served(seconds=0.05)
    with asking(server, tmp_path) as model:
        found: dict[str, str] = {}
        for completion in model.generate(asked(40), GREEDY):
            found[completion.example] = completion.text
            if len(found) in (5, 20):
                server.stop()
                time.sleep(0.3)
                server.start()
        assert len(found) == 40
    lines = server.lines("paid")  # what it had answered as it died never arrived
    assert len({line[1] for line in lines}) == 40
    assert len(lines) <= 40 + model.spent()[""].unsure


def test_a_silent_server_is_given_up_in_a_sentence(served: Callable[..., Served], tmp_path: Path) -> None:
    server = served(faults={"silent": 1.0})
    with (
        asking(server, tmp_path, timeout=0.2, patience=1.0) as model,
        pytest.raises(GenerationError, match=r"After \d tries: no answer came within 0.2 s") as caught,
    ):
        texts(model, asked(2))
    assert caught.value.retryable
    assert model.spent()[""].unsure == len(server.lines("silent")) >= 2


def test_a_wrong_address_is_given_up_and_costs_nothing(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = Server(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", patience=0.5, price=PRICE)
        with (
            remote_of(server, "served", Journal(tmp_path / "new" / "folder" / "j.sqlite")) as model,
            pytest.raises(GenerationError, match="cannot be reached"),
        ):
            texts(model, asked(1))
    assert not model.spent()


def test_a_budget_stops_before_it_is_overdrawn_and_goes_on_with_more(
    served: Callable[..., Served], tmp_path: Path
) -> None:
    server = served(seconds=0.02)
    budget = 40 * (PRICE.of(200, 16))
    with asking(server, tmp_path, budget=f"{budget:.6f} USD") as model:
        found: dict[str, str] = {}
        with pytest.raises(GenerationError, match=r"budget of .* USD is used up: .* are spent") as caught:
            found.update((c.example, c.text) for c in model.generate(asked(500), GREEDY))
        assert not caught.value.retryable
        check_counts(model, server)
        cost = model.spent()[""].money
        assert budget * 0.9 < cost <= budget
        assert model.spent()[""].requests > 100
    with asking(server, tmp_path) as model:
        assert len(texts(model, asked(300))) == 300
        check_counts(model, server)
    with asking(server, tmp_path, budget="100 tokens") as model:
        with pytest.raises(GenerationError, match="budget of 100 tokens is used up"):
            texts(model, asked(301))
        assert len(texts(model, asked(300))) == 300  # what is paid for is there


def test_what_was_sent_when_all_was_killed_counts_as_spent(
    served: Callable[..., Served], tmp_path: Path
) -> None:
    server = served(seconds=0.4)
    model = asking(server, tmp_path)
    answers = model.generate(asked(40), GREEDY)
    for _ in range(4):
        next(answers)
    assert model._line is not None
    assert model._line._process is not None
    time.sleep(0.2)  # four more are on their way
    model._line._process.kill()
    with pytest.raises(GenerationError, match="The process that asks the server has ended") as caught:
        list(answers)
    assert caught.value.retryable
    lost = model.spent()[""]
    assert lost.unsure == 4
    assert lost.at_most > 4 * PRICE.of(60, 16)
    few = PRICE.of(4 * 10, 4 * 10) + lost.at_most
    with (
        asking(server, tmp_path, budget=f"{few:.6f} USD") as again,
        pytest.raises(GenerationError, match="is used up"),
    ):
        texts(again, asked(40))
    with asking(server, tmp_path) as again:
        assert len(texts(again, asked(40))) == 40
        assert again.spent()[""].unsure == 4
    assert 40 <= len(server.lines("paid")) <= 44


def test_a_step_makes_the_same_rows_again_from_the_journal(
    served: Callable[..., Served], tmp_path: Path
) -> None:
    server = served(faults={"busy": 0.1, "garbage": 0.1})
    settings = Choice.model_validate({"kind": "sample", "limit": 16, "seed": 5})
    step = steps.build("respond", {"candidates": 2, "judge": "agreement"}, "generate")
    with asking(server, tmp_path) as model:
        made = list(step(asked(20), Author(model, model.model, settings)))
        check_counts(model, server)
    replay = remote_of(Server("http://nobody/v1"), "served", model.journal, replay=True)
    assert list(step(asked(20), Author(replay, "served", settings))) == made
    assert len(made) == 20
    assert all(isinstance(row, Example) and row.origin["request"] for row in made)


def test_who_stops_listening_pays_for_little_more(served: Callable[..., Served], tmp_path: Path) -> None:
    server = served(seconds=0.05)
    with asking(server, tmp_path) as model:
        answers = model.generate(asked(200), GREEDY)
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        assert len(texts(model, asked(5))) == 5
    assert server.paid()[0] < 20
    check_counts(model, server)


def test_two_iterators_may_be_read_by_turns(served: Callable[..., Served], tmp_path: Path) -> None:
    server = served(seconds=0.01)
    with asking(server, tmp_path) as model:
        pairs = list(zip(model.generate(asked(30), GREEDY), model.generate(asked(40), GREEDY), strict=False))
        assert len(pairs) == 30
    check_counts(model, server)


@contextmanager
def replying(
    *replies: tuple[int, dict[str, Any]], unless: Callable[[dict[str, Any]], bool] = lambda _: False
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve these replies in turn, the last one again and again; yield the address and what was asked.

    A body of which `unless` says so gets a good answer.
    """
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, reply = replies[min(len(bodies), len(replies)) - 1]
            if unless(bodies[-1]):
                status, reply = good("fine")
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", bodies
        server.shutdown()
        thread.join()


def good(text: str) -> tuple[int, dict[str, Any]]:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return 200, {"model": "m", "choices": [choice]}


def test_a_key_that_is_wrong_stops_at_once_and_is_not_told(tmp_path: Path) -> None:
    refused = (401, {"error": {"message": f"Incorrect API key provided: {KEY}."}})
    with replying(refused) as (url, bodies):
        server = Server(url, KEY, concurrency=1)
        with (
            remote_of(server, "m", Journal(tmp_path / "j.sqlite")) as model,
            pytest.raises(GenerationError, match="401: Incorrect API key provided: …") as caught,
        ):
            texts(model, asked(5))
    assert len(bodies) == 1
    assert not caught.value.retryable
    assert model.spent() == {}


def test_a_prompt_that_is_refused_is_one_row_and_no_end(tmp_path: Path) -> None:
    refused = (400, {"error": {"message": "The prompt was filtered."}})
    with replying(good("a"), refused, good("c")) as (url, bodies):
        journal = Journal(tmp_path / "j.sqlite")
        with remote_of(Server(f"{url}/chat/completions", concurrency=1), "m", journal) as model:
            found = [(c.example, c.text, c.finish) for c in model.generate(asked(3), GREEDY)]
            assert sorted(found) == [("0", "a", "stop"), ("1", "", "error"), ("2", "c", "stop")]
            assert [c.finish for c in model.generate(asked(3), GREEDY)] == ["stop", "error", "stop"]
        assert len(bodies) == 3
        assert model.spent()[""].requests == 2
        assert model.spent()[""].estimated == 2  # this server says no tokens


def test_what_may_be_refused_of_all_is_no_answer_of_any(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    first, other = (400, {"error": "The prompt is flagged."}), (400, {"error": "No model is loaded."})
    for replies, count in (((first,), 3), ((good("a"), *[other] * 30), 11)):
        with (
            replying(*replies) as (url, bodies),
            remote_of(Server(url, concurrency=1), "m", journal) as model,
            pytest.raises(
                GenerationError, match=f"The server answers 400: {replies[-1][1]['error']}"
            ) as caught,
        ):
            texts(model, asked(30 if count > 3 else 3))
        assert len(bodies) == count
        assert not caught.value.retryable
        assert "Mend that, and run the same command again" in caught.value.hint
    with replying(first, good("b")) as (url, _), remote_of(Server(url, concurrency=1), "m", journal) as model:
        rows = texts(model, asked(3))  # of the two that are left, the first alone is refused
    assert sorted(rows.values()) == ["", "a", "b"]
    assert not model.spent()[""].unsure


def test_a_prompt_at_which_the_server_always_fails_is_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "START", HASTY)
    journal = Journal(tmp_path / "j.sqlite")

    def fine(body: dict[str, Any]) -> bool:
        return "Question 3:" not in body["messages"][0]["content"]

    with (
        replying((500, {"error": "overflow"}), unless=fine) as (url, bodies),
        remote_of(Server(url, concurrency=2), "m", journal) as model,
    ):
        found = {c.example: c.finish for c in model.generate(asked(60), GREEDY)}
    assert found.pop("3") == "error"
    assert Counter(found.values()) == {"stop": 59}
    assert sum(not fine(body) for body in bodies) == 10
    assert not model.spent()[""].unsure
    entries = journal.under("request:").values()
    assert ["overflow" in entry["why"] for entry in entries if entry["finish"] == "error"] == [True]


def test_a_drip_of_blanks_is_given_up(served: Callable[..., Served], tmp_path: Path) -> None:
    server = served(faults={"drip": 1.0})
    with (
        asking(server, tmp_path, timeout=0.3, patience=0.5) as model,
        pytest.raises(GenerationError, match=r"no whole answer came within 0\.6 s"),
    ):
        texts(model, asked(1))
    assert model.spent()[""].unsure >= 1


def test_what_a_server_does_not_know_is_left_out_from_then_on(tmp_path: Path) -> None:
    unknown = (400, {"error": {"message": "Unsupported: use 'max_completion_tokens'."}})
    schema = Choice.model_validate({"kind": "greedy", "json_schema": {"type": "object"}})
    with (
        replying(unknown, (400, {"error": "no response_format here"}), good("a")) as (url, bodies),
        remote_of(Server(url, concurrency=1), "m", Journal(tmp_path / "j.sqlite")) as model,
    ):
        assert len(texts(model, asked(2), schema)) == 2
    assert "response_format" in bodies[0]
    assert [set(body) for body in bodies[2:]] == [
        {"model", "messages", "max_completion_tokens", "temperature"}
    ] * 2


def test_what_cannot_be_asked_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    for wrong in ("5", "five USD", "-1 USD"):
        with pytest.raises(RecipeError, match="is no budget"):
            remote_of(Server("http://x/v1", price=PRICE, budget=wrong), "m", journal)
    with pytest.raises(RecipeError, match="needs the price of tokens"):
        remote_of(Server("http://x/v1", budget="$5"), "m", journal)
    for url in (
        "localhost:8000/v1",
        "http://",
        "http:///v1",
        "http://x:99999/v1",
        "http://a b/v1",
        "http://x/v1?a=1",
    ):
        with pytest.raises(RecipeError, match="no address of a server"):
            remote_of(Server(url), "m", journal)
    with pytest.raises(RecipeError, match="At least 1 request"):
        remote_of(Server("http://x/v1", concurrency=0), "m", journal)
    model = remote_of(Server("http://x/v1"), "m", journal)
    with pytest.raises(RecipeError, match="No way to ask a server is named 'beam'"):
        texts(model, asked(1), Choice(kind="beam"))
    picture = Example("p", "t", "p", (Message("user", (Media("image", "a.png", "0"),)),), ("x",))
    with pytest.raises(DataError, match="asked in texts"):
        texts(model, [picture])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"espalier-lm\[build\]"):
        remote_of(Server("http://x/v1"), "m", journal)


CLIENT = """
import sys
sys.path.insert(0, sys.argv[4])
from pathlib import Path
from espalier.core.journal import Journal
from espalier.core.recipe import Choice
from espalier.core.records import Example, message
from espalier.core.spending import Price
from espalier.servers import courier, remote
from espalier.servers.remote import Server, remote_of

url, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
prompts = [f"Question {number}: how long?" for number in range(count)]
rows = [Example(str(n), "t", str(n), (message("user", p),), ("x",)) for n, p in enumerate(prompts)]
server = Server(url, price=Price(2.0, 8.0), patience=30.0, concurrency=4)
print("ready", flush=True)
with remote_of(server, "served", Journal(folder / "journal.sqlite")) as model:
    settings = Choice.model_validate({"kind": "greedy", "limit": 16})
    done = {c.example: c.text for c in model.generate(rows, settings)}
(folder / "rows.txt").write_text("\\n".join(done[row.id] for row in rows))
"""


def check_kills(server: Served, folder: Path, kills: int, count: int, *, faults: bool) -> None:
    """Kill the asking process at random moments, then let it finish."""
    root = str(Path(remote.__file__).parents[2])
    draw = random.Random(kills)
    for number in range(kills + 1):
        command = [sys.executable, "-c", CLIENT, server.url, str(folder), str(count), root]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            if number < kills:
                time.sleep(draw.uniform(0.0, 1.6))
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=120)
    rows = (folder / "rows.txt").read_text().splitlines()
    assert len(rows) == count == len(set(rows))
    model = asking(server, folder)
    check_counts(model, server)
    assert server.paid()[0] == count
    assert faults or not model.spent()[""].unsure


def test_who_asks_says_nothing_when_its_reader_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    reads, writes = os.pipe()
    os.close(reads)
    before = set(threading.enumerate())
    courier._teller(writes)({"id": "1"})  # pyright: ignore[reportPrivateUsage]
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert not told


def test_kill_9_at_random_moments_pays_nothing_twice(served: Callable[..., Served], tmp_path: Path) -> None:
    """KILLS=50 in the environment for as many."""
    kills = int(os.environ.get("KILLS", "6"))
    check_kills(served(seconds=0.1), tmp_path, kills, 15 * kills, faults=False)


def test_kill_9_while_the_server_has_faults(served: Callable[..., Served], tmp_path: Path) -> None:
    faults = {"busy": 0.05, "garbage": 0.05, "broken": 0.05, "failed": 0.05}
    check_kills(served(seconds=0.05, faults=faults), tmp_path, 3, 60, faults=True)
