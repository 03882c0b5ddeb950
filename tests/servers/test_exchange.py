"""What a server's replies come to: an answer, or whether to ask again, and whether the try was paid."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from espalier.core.errors import RecipeError
from espalier.core.records import message
from espalier.servers.exchange import (
    Reply,
    Trouble,
    adapted,
    askings,
    job_of,
    read_reply,
    read_status,
    waiting,
)


def reply(content: Any, finish: str = "stop", **more: Any) -> str:
    choice = {"message": {"role": "assistant", "content": content, **more}, "finish_reason": finish}
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    return json.dumps({"model": "m", "choices": [choice], "usage": usage})


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (reply("Hm."), Reply("Hm.", "stop", "m", (3, 4))),
        (reply("Hm", "length"), Reply("Hm", "length", "m", (3, 4))),
        (reply(None, "length"), Reply("", "length", "m", (3, 4), "the answer holds no text")),
        *((reply(no), Reply("", "stop", "m", (3, 4), "the answer holds no text")) for no in (None, 7, {})),
        (reply(None, "tool_calls"), Reply("", "stop", "m", (3, 4), "the answer holds no text")),
        (
            reply([{"type": "thinking"}, "a", {"text": None}, {"text": "Hm."}]),
            Reply("Hm.", "stop", "m", (3, 4)),
        ),
        ("\ufeff" + reply("Hm."), Reply("Hm.", "stop", "m", (3, 4))),
        (reply(None, refusal="No."), Reply("No.", "stop", "m", (3, 4))),
        (reply([{"type": "text", "text": "Hm."}]), Reply("Hm.", "stop", "m", (3, 4))),
        (reply("a\ud800b"), Reply("a\ufffdb", "stop", "m", (3, 4))),
    ],
)
def test_answers_are_read(body: str, found: Reply) -> None:
    assert read_reply(body) == found


def test_a_filtered_answer_is_an_error_that_costs() -> None:
    found = read_reply(reply(None, "content_filter"))
    assert isinstance(found, Reply)
    assert (found.finish, found.tokens) == ("error", (3, 4))
    assert "filter" in found.why


def test_an_answer_without_a_choice_is_paid_where_tokens_are_counted() -> None:
    found = read_reply('{"choices": [], "usage": {"prompt_tokens": 3.0, "completion_tokens": 0}}')
    assert found == Reply("", "error", "", (3, 0), "the answer holds no choice")


@pytest.mark.parametrize(
    "usage",
    [
        *(None, {}, [1, 2], {"prompt_tokens": "3", "completion_tokens": -1}),
        *({"prompt_tokens": n, "completion_tokens": 4} for n in (0, True, -1, 10**15, float("nan"))),
    ],
)
def test_tokens_that_are_not_said_are_not_known(usage: Any) -> None:
    found = read_reply(json.dumps({**json.loads(reply("Hm.")), "usage": usage}))
    assert isinstance(found, Reply)
    assert found.tokens is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        *((text, "unsure") for text in ("", "{", "[]", "null", reply("Hm.")[:-5], "[" * 5000)),
        *((text, "unsure") for text in ('{"choices": []}', '{"choices": [{}]}', '{"choices": null}')),
        ("\n<html>Log in</html>", "again"),
        ('{"error": {"message": "overloaded"}}', "again"),
        ('{"error": {"message": "upstream", "code": 504}}', "unsure"),
        ('{"error": {"message": "who?", "code": 401}}', "fatal"),
    ],
)
def test_what_is_no_answer_is_asked_for_again(body: str, kind: str) -> None:
    found = read_reply(body)
    assert isinstance(found, Trouble)
    assert found.kind == kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, "{}", "again"),
        (503, "gone", "again"),
        (500, "", "again"),
        (429, '{"error": {"message": "pay", "code": "insufficient_quota"}}', "fatal"),
        (429, '{"error": {"message": "pay", "type": "insufficient_quota", "code": null}}', "fatal"),
        (504, "<html>Gateway Time-out</html>", "unsure"),
        (400, '{"error": {"message": "too long"}}', "refused"),
        (501, '{"error": "no such thing"}', "refused"),
        (401, '{"error": "who?"}', "fatal"),
        (404, '{"detail": "no model"}', "fatal"),
    ],
)
def test_a_status_says_whether_to_ask_again(status: int, body: str, kind: str) -> None:
    found = read_status(status, body, {})
    assert found.kind == kind
    assert str(status) in found.why


def test_what_is_wrong_for_all_says_what_to_look_at() -> None:
    assert read_status(401, "{}", {}).why.endswith("; look at the key")
    assert "ends in /v1" in read_status(404, '{"error": "No such model."}', {}).why
    assert read_status(413, "", {}).own
    assert read_status(400, '{"error": "maximum context length"}', {}).own
    assert not read_status(400, '{"error": "No model is loaded."}', {}).own


def test_the_time_to_wait_is_read_in_all_its_forms() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert waiting({"retry-after": "2.5"}) == 2.5
    assert waiting({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert 80 < (waiting({"retry-after": moment}) or 0) < 91
    for other in ("", "soon", "-3", "nan", "inf"):
        assert waiting({"retry-after": other}) is None


def test_what_a_server_does_not_know_is_left_out() -> None:
    body = {"model": "m", "max_tokens": 5, "temperature": 0.0, "response_format": {}}
    assert adapted(body, "Use max_completion_tokens instead of max_tokens.") == {
        **{name: value for name, value in body.items() if name != "max_tokens"},
        "max_completion_tokens": 5,
    }
    assert "response_format" not in (adapted(body, "json_schema is not supported") or body)
    assert "temperature" not in (adapted(body, "temperature must be 1") or body)
    assert "max_tokens" not in (adapted(body, "max_tokens: Extra inputs are not permitted") or body)
    assert "response_format" not in (adapted(body, "No guided decoding here.") or body)
    assert adapted(body, "The prompt is too long.") is None
    assert adapted(body, "max_tokens is too large: 5.") is None
    assert adapted({"model": "m"}, "temperature must be 1") is None


def test_only_what_is_set_is_sent_of_what_not_every_server_knows() -> None:
    usual = askings.build("sample", {}).settings
    assert set(usual) == {"max_tokens", "temperature", "top_p", "seed"}
    own = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2, "presence_penalty": 0.5}
    assert askings.build("sample", own).settings == {**usual, **own}
    with pytest.raises(RecipeError, match=r"decode.min_p: min_p = 2.0 does not fit"):
        askings.build("sample", {"min_p": 2.0})


def test_the_key_is_of_what_determines_the_answer() -> None:
    turns = (message("user", "How long?"),)
    sample = askings.build("sample", {"limit": 5, "samples": 3, "seed": 1})
    job = job_of("m", turns, sample, 0, "respond")
    assert job.key == job_of("m", turns, askings.build("sample", {"limit": 5, "seed": 1}), 0, "evolve").key
    others = [
        job_of("n", turns, sample, 0, "respond"),
        job_of("m", (message("system", "How long?"),), sample, 0, "respond"),
        job_of("m", turns, sample, 1, "respond"),
        job_of("m", turns, askings.build("sample", {"limit": 6, "seed": 1}), 0, "respond"),
    ]
    assert len({job.key, *(other.key for other in others)}) == 5
    assert others[2].body["seed"] == 2
    assert job.key == "67852da8a746f55e"  # of all journals that there are: it must not change


@pytest.mark.parametrize("params", [{"limit": 0}, {"samples": 0}, {"temperature": -1.0}, {"top_p": 0.0}])
def test_settings_that_cannot_be_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        askings.build("sample", params, "decode")
