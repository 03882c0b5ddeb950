"""One exchange with an OpenAI-compatible server: the body of a request, and what a reply comes to.

Nothing here waits or writes. A reply is an answer, or a `Trouble` that says whether to ask again, and whether
the try may have been paid.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from espalier.core.errors import DataError, RecipeError
from espalier.core.files import content_hash
from espalier.core.records import media_in
from espalier.core.registry import Registry
from espalier.decode.draws import Draw, Penalties

if TYPE_CHECKING:
    from espalier.core.records import Finish, Message

OVERHEAD = 64  # tokens: what a server's template can put around the messages
AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
REFUSED = frozenset({400, 413, 422, 501})  # of this request; what else is wrong is so for every one
# What a server says of a prompt itself, and not of how all are asked.
OWN = re.compile(
    r"context|too (?:long|large|many)|length|filter|flagged|moderat|safety|policy", re.IGNORECASE
)
ADVICE = {
    401: "; look at the key",
    403: "; look at what this key may ask",
    404: "; look at the model's name, and whether the address ends in /v1",
    405: "; look at the address",
}
SHOWN = 300  # characters of what a server says
ENOUGH = 100_000_000  # tokens: who counts more for a request does not count


@dataclass(frozen=True, slots=True)
class Asking:
    """How a server is asked: the settings of a request, and how many answers to each prompt."""

    settings: Mapping[str, Any]
    samples: int = 1


askings: Registry[Asking] = Registry("way to ask a server")


@askings.register("greedy")
def greedy(*, limit: int = 64, json_schema: dict[str, Any] | None = None) -> Asking:
    """The likeliest token each time; `json_schema` for servers that can keep to one."""
    return Asking(_checked({"max_tokens": limit, "temperature": 0.0}, json_schema))


@askings.register("sample")
def sample(
    *,
    limit: int = 64,
    temperature: float = 1.0,
    top_p: float = 1.0,
    samples: int = 1,
    seed: int = 0,
    top_k: int = 0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    presence_penalty: float = 0.0,
    frequency_penalty: float = 0.0,
    json_schema: dict[str, Any] | None = None,
) -> Asking:
    """Drawn tokens, with a seed for servers that know one; what else is set must be known to the server."""
    settings = {"max_tokens": limit, "temperature": temperature, "top_p": top_p, "seed": seed}
    penalties = Penalties(repetition_penalty, presence_penalty, frequency_penalty)
    settings |= Draw(top_k=top_k, min_p=min_p, penalties=penalties).settings
    if samples < 1:
        raise RecipeError("There must be at least 1 sample.", where="decode.samples")
    return Asking(_checked(settings, json_schema), samples)


def _checked(settings: dict[str, Any], schema: dict[str, Any] | None) -> dict[str, Any]:
    if settings["max_tokens"] < 1:
        raise RecipeError("The limit must be at least 1 token.", where="decode.limit")
    if settings["temperature"] < 0 or not 0 < settings.get("top_p", 1) <= 1:
        raise RecipeError("The temperature must not be below 0, and top_p in (0, 1].", where="decode")
    if schema is not None:
        named = {"name": "answer", "schema": schema}
        settings["response_format"] = {"type": "json_schema", "json_schema": named}
    return settings


@dataclass(frozen=True, slots=True)
class Job:
    """A request to make: its key in the journal, its body, the step that asks, and its most tokens."""

    key: str
    body: Mapping[str, Any]
    step: str
    worst: tuple[int, int]


def job_of(model: str, messages: Sequence[Message], asking: Asking, sample: int, step: str) -> Job:
    """Return the request for one of the answers to a prompt.

    The key is the hash of model, messages, settings and sample, and of nothing that can change without a
    change of the answer: not the server's address, the step, or this program's version.

    Raises:
        DataError: a message holds more than text.
    """
    if media_in(messages):
        raise DataError("A server is asked in texts, and a message holds a picture or a sound.")
    turns = [{"role": turn.role, "content": turn.text} for turn in messages]
    key = content_hash([model, turns, dict(asking.settings), sample])
    body = {"model": model, "messages": turns, **asking.settings}
    if "seed" in body:
        body["seed"] += sample
    # No token is shorter than a byte, so that no tokenizer makes more of them.
    sent = json.dumps([turns, body.get("response_format", "")], ensure_ascii=False)
    read = len(sent.encode(errors="replace")) + OVERHEAD
    return Job(key, body, step, (read, int(body["max_tokens"])))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `tokens`: of the prompt and of the answer, as the server counted; None where it did not."""

    text: str
    finish: Finish
    model: str
    tokens: tuple[int, int] | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A try without an answer.

    Attributes:
        kind: "again": it was not paid; "unsure": it may have been; "refused": the server does not answer this
            prompt; "fatal": it will answer none.
        why: in words.
        wait: seconds that the server asks to wait; None where it does not say.
        busy: whether the server said that it has too much to do.
        away: whether nobody was there.
        own: whether the refusal is of the prompt itself, by what the server says.
        of_key: whether it is of the key that was sent.
    """

    kind: Literal["again", "unsure", "refused", "fatal"]
    why: str
    wait: float | None = None
    busy: bool = False
    away: bool = False
    own: bool = False
    of_key: bool = False


def read_reply(text: str) -> Reply | Trouble:
    """Return what the body of a reply with status 200 comes to."""
    try:
        body: Any = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        if text.lstrip().startswith("<"):  # of a login, or of another program at this address
            return Trouble("again", f"a web page answers, and no model: {_short(text)}", away=True)
        return Trouble("unsure", f"the server's answer is no JSON: {_short(text)}")
    match body:
        case {"choices": [{"message": {**message}, **choice}, *_]}:
            return _answer(cast("dict[str, Any]", body), message, choice)
        case {"choices": [], "usage": usage} if tokens := _usage(usage):  # paid, and kept back
            return Reply("", "error", str(body.get("model") or ""), tokens, "the answer holds no choice")
        case {"error": {"code": int(code)}} if code >= 400:
            return read_status(code, text, {})
        case {"error": said} if said:
            return Trouble("again", f"the server says: {_short(_message(said))}")
        case _:
            return Trouble("unsure", f"the server's answer holds no choice: {_short(text)}")


def _answer(body: Mapping[str, Any], message: Mapping[str, Any], choice: Mapping[str, Any]) -> Reply:
    content: Any = message.get("content")
    if isinstance(content, list):  # in parts, as some servers write
        parts = cast("list[Any]", content)
        content = "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))
    if content is None:
        content = message.get("refusal")
    ended = choice.get("finish_reason")
    finish: Finish = "length" if ended == "length" else "error" if ended == "content_filter" else "stop"
    why = "the server's content filter stopped it" if finish == "error" else ""
    if not isinstance(content, str):  # thought alone, or the call of a tool: made, and paid for
        content, why = "", why or "the answer holds no text"
    # Half of a surrogate pair, which JSON can hold and no file in UTF-8.
    text = content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return Reply(text, finish, str(body.get("model") or ""), _usage(body.get("usage")), why)


def _usage(usage: Any) -> tuple[int, int] | None:
    """Return what a server counted; None where it did not, or what no request can have."""
    match usage:
        case {"prompt_tokens": int() | float() as read, "completion_tokens": int() | float() as written} if (
            0 < read < ENOUGH and 0 <= written < ENOUGH and bool not in (type(read), type(written))
        ):
            return int(read), int(written)
        case _:
            return None


def read_status(status: int, text: str, headers: Mapping[str, str]) -> Trouble:
    """Return what a reply with any other status comes to."""
    try:
        body: Any = json.loads(text)
    except (ValueError, RecursionError):
        body = text
    said = body.get("error", body) if isinstance(body, dict) else body
    why = f"the server answers {status}: {_short(_message(said))}".rstrip(": ")
    kinds = (said.get("code"), said.get("type")) if isinstance(said, dict) else ()
    if status in AGAIN and "insufficient_quota" not in kinds:
        # Where a gateway gave up, the model behind it may well have answered.
        kind = "unsure" if status in (504, 524) else "again"
        return Trouble(kind, why, waiting(headers), busy=status == 429)
    if status in REFUSED:
        return Trouble("refused", why, own=status == 413 or OWN.search(why) is not None)
    return Trouble("fatal", why.rstrip(".") + ADVICE.get(status, ""), of_key=status in (401, 403))


def waiting(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait: Retry-After, a number or a date (RFC 9110, 10.2.3)."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        value = headers.get(name, "").strip()
        try:
            seconds = float(value) / unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    try:
        until = parsedate_to_datetime(headers.get("retry-after", ""))
    except (ValueError, TypeError):
        return None
    moment = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def adapted(body: Mapping[str, Any], why: str) -> dict[str, Any] | None:
    """Return a body without what a server said that it does not know; None where nothing is left to try.

    Newer models want the limit under another name, and draw as they like; some servers know no schema, and
    say so in words of their own.
    """
    renamed = "max_completion_tokens" in why or ("max_tokens" in why and not OWN.search(why))
    if renamed and "max_tokens" in body:
        rest = {name: value for name, value in body.items() if name != "max_tokens"}
        return {**rest, "max_completion_tokens": body["max_tokens"]}
    words = ("response_format", "json_schema", "temperature", "top_p", "seed")
    named = {"response_format" if word == "json_schema" else word for word in words if word in why} & {*body}
    if not named and not OWN.search(why):
        named = {"response_format"}
    rest = {name: value for name, value in body.items() if name not in named}
    return rest if len(rest) < len(body) else None


def _message(said: Any) -> str:
    match said:
        case {"message": str(text)}:
            return text
        case str():
            return said
        case _:
            return json.dumps(said)


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return f"{plain[:SHOWN]}…" if len(plain) > SHOWN else plain
