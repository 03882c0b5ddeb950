"""Builds whose rows a model writes: sources to steps to table, by a server, by a model of this machine."""

from __future__ import annotations

import json
import re
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from shutil import copytree
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from espalier.builds.build import build
from espalier.builds.built import Build
from espalier.builds.generation import bill_of
from espalier.builds.going_out import export_rows
from espalier.builds.model import Terms
from espalier.builds.recipe import as_build, load_build
from espalier.core.errors import DataError, EspalierError, GenerationError, RecipeError
from espalier.core.journal import NAME, Journal
from espalier.core.run import RunFolder
from espalier.core.spending import NOTHING, spent
from espalier.data.pairs import Pairs
from espalier.runs.events import Said, listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

SENTENCES = ["The cat sat on the mat.", "The meeting lasted.", "Ada mended a clock.", "It rained all night."]


@dataclass
class Clerk:
    """A server that answers by what it is asked, and writes down what it was paid for."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    tokens: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    keys: set[str] = field(default_factory=set[str])
    refuses: bool = False


@pytest.fixture
def clerk() -> Iterator[Clerk]:
    told = Clerk()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if told.refuses:
                self.send_response(401)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            told.asked.append(request)
            told.keys.add(self.headers["Authorization"].removeprefix("Bearer "))
            said = request["messages"][-1]["content"]
            text = "" if "meeting" in said else f"{len(said.split())} words, the last one {said.split()[-1]}"
            told.tokens.append((len(said.split()), len(text.split())))
            usage = {"prompt_tokens": len(said.split()), "completion_tokens": len(text.split())}
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            body = json.dumps(
                {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice],
                 "usage": usage}
            ).encode()  # fmt: skip
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield told
    server.shutdown()
    server.server_close()


@pytest.fixture
def recipe(tmp_path: Path, clerk: Clerk) -> dict[str, Any]:
    (tmp_path / "sentences.txt").write_text("\n".join(SENTENCES) + "\n")
    (tmp_path / "people.jsonl").write_text(
        "".join(
            json.dumps({"instruction": f"Count to {n}, please.", "output": f"{n} it is."}) + "\n"
            for n in range(6)
        )
    )
    return {
        "name": "made",
        "folder": str(tmp_path / "runs"),
        "source": [
            {"path": str(tmp_path / "sentences.txt"), "use": "prompts", "task": "lasting"},
            {"path": str(tmp_path / "people.jsonl"), "licence": "cc0-1.0"},
        ],
        "model": {"name": "m", "server": clerk.url, "price_in": 1_000_000.0, "price_out": 2_000_000.0},
        "decode": {"kind": "greedy", "limit": 30},
        "generate": [{"kind": "respond"}],
        "filter": ["length"],
        "export": {"path": "out.jsonl"},
    }


@pytest.fixture
def small_model(
    tmp_path: Path,
    talker: LlamaForCausalLM,
    chat_tokenizer: Callable[[str], PreTrainedTokenizerFast],
) -> Path:
    talker.save_pretrained(tmp_path / "model")
    chat_tokenizer("chatml").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def made(recipe: dict[str, Any], tmp_path: Path, **terms: Any) -> Build:
    asked = as_build(recipe)
    return build(asked, tmp_path / "runs" / asked.name, Terms(tmp_path, "sk-secret", **terms))


def test_a_server_writes_rows_which_are_counted_paid_and_told(
    recipe: dict[str, Any], tmp_path: Path, clerk: Clerk
) -> None:
    said: list[str] = []
    with listening(lambda event: said.append(event.text) if isinstance(event, Said) else None):
        done = made(recipe, tmp_path)
    rows = list(done.pairs)
    assert len(rows) == 3 + 6
    written = [row for row in rows if row.task == "lasting"]
    assert [row.input for row in written] == [text for text in SENTENCES if "meeting" not in text]
    assert all(row.origin["model"] == "m" and row.origin["request"] for row in written)
    # A step is a source behind the recipe's own.
    assert [row.origin["source"] for row in rows] == [1] * 6 + [2] * 3
    (step,) = done.funnel.written
    assert (step.given, step.answers, step.rows) == (4, 4, 3)
    assert step.left_out == {"The answer is empty.": 1}
    paid = step.total
    assert (paid.requests, paid.read, paid.written) == (4, *map(sum, zip(*clerk.tokens, strict=True)))
    assert paid.money == paid.read + 2 * paid.written
    assert paid == step.paid == done.paid
    assert clerk.keys == {"sk-secret"}
    everything = b"".join(file.read_bytes() for file in done.path.rglob("*") if file.is_file())
    assert b"sk-secret" not in everything
    assert [source.use for source in done.funnel.sources] == ["prompts", "rows", "generated"]
    rejects = [json.loads(line) for line in (done.path / "rejects.jsonl").read_text().splitlines()]
    assert [(one["stage"], one["reason"]) for one in rejects] == [
        ("generate respond", "The answer is empty.")
    ]
    assert any("3 rows from 4 rows given, by 4 answers of m" in text for text in said)


def test_what_is_answered_is_not_asked_again_whatever_else_changes(
    recipe: dict[str, Any], tmp_path: Path, clerk: Clerk
) -> None:
    first = made(recipe, tmp_path)
    table = (first.path / "pairs.parquet").read_bytes()
    assert len(clerk.asked) == 4
    made(recipe, tmp_path)
    # Neither where the step is to be done again, nor where its checks are others.
    (first.path / "stages.json").unlink()
    assert (made(recipe, tmp_path).path / "pairs.parquet").read_bytes() == table
    made({**recipe, "generate": [{"kind": "respond", "candidates": 1, "judge": "agreement"}]}, tmp_path)
    assert len(clerk.asked) == 4
    assert spent(Journal(first.path / NAME))[""].requests == 4


def test_the_task_of_prompts_is_a_file_beside_the_recipe_and_read_again_where_it_changes(
    recipe: dict[str, Any], tmp_path: Path, clerk: Clerk
) -> None:
    row = {"id": "1", "input": "It rained.", "output": ["An hour."]}
    for words in ("Say how long it took.", "Say how many hours."):
        task = {"Definition": words, "Positive Examples": [], "Negative Examples": [], "Instances": [row]}
        (tmp_path / "lasting.json").write_text(json.dumps(task))
        recipe["source"][0] |= {"path": "sentences.txt", "task": "lasting.json"}
        (tmp_path / "build.toml").write_text(tomli_w.dumps(recipe))
        asked = load_build(tmp_path / "build.toml")
        assert as_build(asked) == asked
        build(asked, tmp_path / "runs" / "made", Terms(tmp_path))
        assert words in clerk.asked[-1]["messages"][-1]["content"]


def test_a_replay_needs_no_server(recipe: dict[str, Any], tmp_path: Path, clerk: Clerk) -> None:
    recipe["model"]["server"] = clerk.url
    first = made(recipe, tmp_path)
    table = (first.path / "pairs.parquet").read_bytes()
    (first.path / "pairs.parquet").unlink()
    nobody = {**recipe, "model": {**recipe["model"], "server": "http://127.0.0.1:9/v1"}}
    again = made(nobody, tmp_path, replay=True)
    assert (again.path / "pairs.parquet").read_bytes() == table
    # What the journal does not hold is not made up.
    more = {**nobody, "decode": {"kind": "greedy", "limit": 31}}
    with pytest.raises(GenerationError, match="0 of 4 answers"):
        made(more, tmp_path, replay=True)
    assert len(clerk.asked) == 4


def test_steps_follow_each_other(recipe: dict[str, Any], tmp_path: Path, clerk: Clerk) -> None:
    recipe["generate"] = [
        {"kind": "respond", "name": "first", "rows": ["people"]},
        {"kind": "wrong_answers"},
        {"kind": "respond", "name": "other", "rows": ["sentences", "people"], "keep": True},
    ]
    recipe["export"] = None
    done = made(recipe, tmp_path)
    assert [(step.name, step.given) for step in done.funnel.written] == [
        ("first", 6),
        ("wrong_answers", 6),
        ("other", 10),
    ]
    uses = [source.use for source in done.funnel.sources]
    assert uses == ["prompts", "rows", "step", "generated", "generated"]
    assert Pairs(done.path / "generated" / "first.parquet").filters == []
    assert {row.origin["source"] for row in done.pairs} == {1, 3, 4}


@pytest.mark.parametrize(
    ("change", "where", "told"),
    [
        ({"generate": [{"kind": "respnd"}]}, "generate.0.kind", "respond"),
        ({"generate": [{"kind": "respond", "candidats": 2}]}, "generate.0", "candidates"),
        ({"generate": [{"kind": "respond", "rows": ["sentnces"]}]}, "generate.0.rows", "sentences"),
        ({"generate": [{"kind": "respond", "name": "people"}]}, "generate.0.name", "name"),
        ({"generate": [{"kind": "respond", "rows": ["respond"]}]}, "generate.0.rows", ""),
        ({"model": {"name": "m", "server": "localhost:8000"}}, "model.server", "http://"),
        ({"model": {"name": "m", "server": "http://x/v1", "budget": "5 USD"}}, "model.budget", "price"),
        ({"filter": ["difficulty"]}, "model.server", "own"),
        (
            {"generate": [{"kind": "respond"}, {"kind": "wrong_answers", "count": 2}]},
            "generate.1.count",
            "drawn",
        ),
        ({"generate": [{"kind": "respond", "candidates": 3}]}, "generate.0.candidates", "drawn"),
        ({"mix": {"weights": {"people": -1.0}}}, "mix.weights.people", "0 or more"),
        ({"mix": {"tokens": {"people": 1.0}, "epochs": {"people": 1.0}}}, "mix", "share"),
        ({"mix": {"weights": {"peple": 2.0}}}, "mix.weights", "people"),
        ({"mix": {"tokens": {"respnd": 0.5}}}, "mix.tokens", "respond"),
        ({"mix": {"epochs": {"sentences": 2.0}}}, "mix.epochs", "people, respond"),
        (
            {"decode": {"kind": "smple"}, "generate": [{"kind": "respond", "candidates": 2}]},
            "decode.kind",
            "sample",
        ),
        ({"decode": {"kind": "sample", "temprature": 1.0}}, "decode.temprature", "temperature"),
    ],
)
def test_what_is_wrong_is_told_before_a_request(
    recipe: dict[str, Any], tmp_path: Path, clerk: Clerk, change: dict[str, Any], where: str, told: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        made({**recipe, **change}, tmp_path)
    assert caught.value.where.startswith(where)
    assert told in f"{caught.value.message} {caught.value.hint}"
    assert not clerk.asked


@pytest.mark.parametrize(
    ("file", "holds", "change", "where"),
    [
        ("people.jsonl", b"{\n", {}, "people.jsonl"),
        ("people.jsonl", b'{"instruction": "A \xff", "output": "b"}\n', {}, "people.jsonl"),
        ("held.jsonl", b'"\xff', {}, "(filter.0)"),
        ("held.csv.gz", b"no gzip", {}, "(filter.0)"),
        ("held.jsonl", b'{"a": 1}', {"filter": ["language"]}, "filter.0"),
        ("held.jsonl", b'{"a": 1}', {"mix": {"tokenizer": "./nowhere"}}, "nowhere"),
        ("held.jsonl", b'{"a": 1}', {"export": {"path": "people.jsonl"}}, "export.path"),
    ],
)
def test_what_comes_after_generation_is_looked_at_before(
    recipe: dict[str, Any], tmp_path: Path, clerk: Clerk, monkeypatch: pytest.MonkeyPatch, file: str,
    holds: bytes, change: dict[str, Any], where: str,
) -> None:  # fmt: skip
    (tmp_path / file).write_bytes(holds)
    monkeypatch.setitem(sys.modules, "lingua", None)
    recipe["source"][1]["on_bad"] = "raise"
    recipe["filter"] = [{"kind": "contamination", "tests": [str(tmp_path / file)]}]
    recipe |= change
    if change.get("export"):
        recipe["export"] = {"path": str(tmp_path / "people.jsonl")}
    with pytest.raises(EspalierError) as caught:
        made(recipe, tmp_path)
    assert where in str(caught.value)
    assert not clerk.asked


def test_a_task_of_a_tests_source_is_refused_before_anything_is_asked(
    recipe: dict[str, Any], tmp_path: Path, clerk: Clerk
) -> None:
    (tmp_path / "people.jsonl").rename(tmp_path / "task003_mctaco_question.jsonl")
    (tmp_path / "task020_mctaco_span.jsonl").write_text('{"instruction": "Say it.", "output": "It."}\n')
    recipe["source"][1]["path"] = str(tmp_path / "task003_mctaco_question.jsonl")
    recipe["filter"] = [{"kind": "contamination", "tests": [str(tmp_path / "task020_mctaco_span.jsonl")]}]
    with pytest.raises(DataError, match="same source, 'mctaco'"):
        made(recipe, tmp_path)
    assert not clerk.asked


def test_what_was_paid_now_and_in_all_is_told_apart(
    recipe: dict[str, Any], tmp_path: Path, clerk: Clerk
) -> None:
    first = made(recipe, tmp_path)
    again = made(recipe, tmp_path)
    assert again.paid == NOTHING
    assert again.funnel.written == first.funnel.written
    (tmp_path / "sentences.txt").write_text("\n".join([*SENTENCES, "A bell rang."]) + "\n")
    said: list[str] = []
    with listening(lambda event: said.append(event.text) if isinstance(event, Said) else None):
        more = made(recipe, tmp_path)
    (step,) = more.funnel.written
    assert (step.paid.requests, step.total.requests, more.paid.requests) == (1, 5, 1)
    assert step.paid.money + first.paid.money == step.total.money
    assert any("In this start 1 request" in text and "in all starts 5 requests" in text for text in said)
    report = more.report.read_text()
    assert re.search(r"in the start that wrote these rows</td><td class=.n.>1</td>", report)
    assert re.search(r"in all starts</td><td class=.n.>5</td>", report)
    bill = bill_of(more.paid, more.funnel.written)
    assert bill.startswith("Asked in this start: 1 request, ")
    assert "In all starts: 5 requests, " in bill


def test_the_card_shows_the_recipe_as_it_is_now(recipe: dict[str, Any], tmp_path: Path, clerk: Clerk) -> None:
    first = made(recipe, tmp_path)
    out, card = first.exported, first.path / "README.md"
    assert out
    before = out.stat().st_mtime_ns
    other = {**recipe, "model": {**recipe["model"], "price_in": 3.0, "concurrency": 2}}
    assert as_build(other).hash != as_build(recipe).hash
    for _ in range(2):
        text = made(other, tmp_path).path.joinpath("README.md").read_text()
        assert as_build(other).hash in text
        assert "price_in = 3.0" in text
    assert out.stat().st_mtime_ns == before
    card.unlink()
    made(other, tmp_path)
    assert card.read_text() == text
    assert len(clerk.asked) == 4


@pytest.mark.parametrize("secret", ["", "sk-wrong"])
def test_a_wrong_key_is_told_with_the_variable_that_holds_it(
    recipe: dict[str, Any], tmp_path: Path, clerk: Clerk, secret: str
) -> None:
    clerk.refuses = True
    asked = as_build({**recipe, "model": {**recipe["model"], "key_env": "OWN_KEY"}})
    with pytest.raises(GenerationError) as caught:
        build(asked, tmp_path / "runs" / "made", Terms(tmp_path, secret))
    assert "OWN_KEY" in caught.value.hint
    assert ("is not set" in caught.value.hint) == (not secret)


def test_a_mixture_goes_out_in_rows_and_tokens(
    recipe: dict[str, Any], tmp_path: Path, small_model: Path
) -> None:
    for name, count in (("big", 40), ("small", 10)):
        rows = [
            {"instruction": f"Question {n} of the {name} set?", "output": f"Answer {n} {'word ' * (n % 5)}"}
            for n in range(count)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe |= {"source": [{"path": str(tmp_path / f"{name}.jsonl")} for name in ("big", "small")]}
    recipe |= {
        "generate": [],
        "model": {},
        "mix": {"weights": {"small": 4.0}, "rows": 40, "tokenizer": str(small_model)},
    }
    done = made(recipe, tmp_path)
    lines = [json.loads(line) for line in (done.path / "out.jsonl").read_text().splitlines()]
    from_small = [line["messages"][0]["content"] for line in lines if "small" in json.dumps(line)]
    assert len(lines) == 40
    assert len(from_small) == 20
    assert len(set(from_small)) == 10
    assert {one.source: one.rows for one in done.portions} == {"big": 20, "small": 20}
    assert all(one.tokens > 0 for one in done.portions)
    # Nothing left the table, and what is written out of it later is no mixture, which is said.
    assert len(done.pairs) == 50
    said: list[str] = []
    with listening(lambda event: said.append(event.text) if isinstance(event, Said) else None):
        exported, _ = export_rows(done.path, tmp_path / "all.jsonl", "alpaca", None, [])
    assert exported.rows == 50
    assert any("without the recipe's [mix]; --mix mixes them" in text for text in said)
    exported, _ = export_rows(done.path, tmp_path / "mixed.jsonl", "messages", mix=tmp_path)
    assert (tmp_path / "mixed.jsonl").read_text() == (done.path / "out.jsonl").read_text()
    assert exported.portions == tuple(done.portions)
    report = done.report.read_text()
    assert "50 of 50 rows pass; the mixture has 40" in report
    assert all(f'"name">{name}</span>' in report for name in ("rows that pass", "in the mixture"))
    assert "rows out" not in report
    assert "| small |" in (done.path / "README.md").read_text()


def test_a_template_and_the_votes_of_annotators(recipe: dict[str, Any], tmp_path: Path) -> None:
    labels = {"a": ["praise", "praise", "blame"], "b": ["blame"] * 3, "c": ["praise", "blame"]}
    rows = [
        {"id": name, "text": f"Review {name}.", "annotator": str(n), "label": label}
        for name, given in labels.items()
        for n, label in enumerate(given)
    ]
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "praise.toml").write_text(
        '[task]\nname = "praise"\nsource = "id"\nchoices = ["praise", "blame"]\nright = "label"\n'
        '[[wording]]\nprompt = "Praise or blame? {{ text }}"\n'
        '[[wording]]\nprompt = "{{ text }} Is it praise?"\n'
    )
    source = {"path": str(tmp_path / "votes.jsonl"), "template": str(tmp_path / "praise.toml"), "votes": {}}
    done = made({**recipe, "source": source, "generate": [], "model": {}}, tmp_path)
    assert [row.origin["votes"] for row in done.pairs] == [{"praise": 2, "blame": 1}, {"blame": 3}]
    assert {row.answer for row in done.pairs} == {"praise", "blame"}
    assert done.funnel.sources[0].rejected == 1  # the tie
    assert "alpha" in done.funnel.sources[0].note
    assert "nan" not in done.funnel.sources[0].note
    every = made({**recipe, "name": "every", "source": {**source, "wordings": 0}, "generate": []}, tmp_path)
    assert len(every.pairs) == 4


def test_a_model_of_this_machine_writes_and_weighs(
    recipe: dict[str, Any], tmp_path: Path, small_model: Path
) -> None:
    recipe |= {
        "model": {"name": str(small_model), "precision": "fp32"},
        "decode": {"kind": "sample", "limit": 6},
        "generate": [{"kind": "respond", "candidates": 2}],
        "filter": ["difficulty"],
        "mix": {},
    }
    done = made(recipe, tmp_path)
    (step,) = done.funnel.written
    assert step.answers == 8
    assert step.total.requests == 0
    verdicts = [found["difficulty"] for _, found in done.pairs.judged()]
    assert any(one.score is not None for one in verdicts)
    kept = (done.path / "generations.jsonl").read_text()
    assert len(kept.splitlines()) == 8
    # What was written is taken where the step is done again, and nothing is written anew.
    (done.path / "stages.json").unlink()
    again = made(recipe, tmp_path)
    assert (again.path / "generations.jsonl").read_text() == kept
    assert [row.id for row in again.pairs] == [row.id for row in done.pairs]


def test_what_is_weighed_or_counted_is_keyed_by_the_model_alone(
    recipe: dict[str, Any], tmp_path: Path, small_model: Path
) -> None:
    recipe |= {"source": recipe["source"][1:], "generate": [], "filter": ["difficulty"], "mix": {}}
    recipe |= {"model": {"name": str(small_model), "precision": "fp32"}}
    folder = RunFolder(made(recipe, tmp_path).path)
    stages = json.loads(folder.stages.read_text())
    made({**recipe, "decode": {"kind": "greedy", "limit": 31}}, tmp_path)
    assert {**json.loads(folder.stages.read_text()), "card": stages["card"]} == stages
    # The tokens of a mixture are another model's.
    copytree(small_model, tmp_path / "other")
    made({**recipe, "model": {**recipe["model"], "name": str(tmp_path / "other")}, "filter": []}, tmp_path)
    before = folder.done("export")
    made({**recipe, "filter": []}, tmp_path)
    assert folder.done("export") != before


def test_rows_of_one_task_are_shown_beside_each_other_without_its_words(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    words = "Say how long it takes, in a word or two, and nothing else. " * 8
    rows = [{"instruction": f"{words}\nInput: {text}", "output": "An hour, I guess."} for text in SENTENCES]
    (tmp_path / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    same = {"kind": "novelty", "of": "answer"}
    done = made({**recipe, "source": recipe["source"][1:], "generate": [], "filter": [same]}, tmp_path)
    (step,) = done.funnel.steps
    assert [(one.prompt, one.near_prompt) for one in step.examples] == [
        (f"…\nInput: {text}", f"…\nInput: {SENTENCES[0]}") for text in SENTENCES[1:]
    ]


def test_a_source_without_rows_is_told(recipe: dict[str, Any], tmp_path: Path, clerk: Clerk) -> None:
    (tmp_path / "sentences.txt").write_text("\n\n")
    said: list[str] = []
    with listening(lambda event: said.append(event.text) if isinstance(event, Said) else None):
        made(recipe, tmp_path)
    assert "Note: sentences gave no rows." in said
    assert not clerk.asked
