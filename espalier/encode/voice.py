"""One chat template of a tokenizer, asked what it does: its forms, what it shows, and how its answers end.

Nothing is read out of a template's source but the formats of its dates. What it does is found with probes:
conversations of words that no template has of its own.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from jinja2 import TemplateError as JinjaError

from espalier.core.errors import TemplateError
from espalier.encode.tokenizer import any_of
from espalier.encode.tools import SYSTEM, TOOLS, USER, Traits, Turn, formed, probe_call, probe_template

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence
    from datetime import datetime

    from espalier.encode.tokenizer import Tokenizer

# Stands for an answer; no template produces it.
PROBE = "\u241fanswer\u241f"
ANSWER: Turn = {"role": "assistant", "content": PROBE}
# Roles whose content is a list of parts, as templates want it: of none, of all, or of one side.
FORMS = (frozenset[str](), frozenset({"system", "user", "assistant", "tool"}), frozenset({"user"}))
# What a template makes of a date: the macro takes the place of transformers' function, which asks the clock.
DATED = (
    "{% macro strftime_now(format) %}{{ espalier_dates[format] if format in espalier_dates else "
    "raise_exception('a date of this form is not known: ' + format) }}{% endmacro %}{{ '' }}"
)
CLOCK = "strftime_now"
T = TypeVar("T")
REMEMBERED = 64  # templates
FORMATS = re.compile(r"'([^'{}]*%[^'{}]*)'|\"([^\"{}]*%[^\"{}]*)\"")


@dataclass(frozen=True, slots=True)
class Rendering:
    """What rows and prompts of a run have in common besides the model.

    Attributes:
        special: what the name of a special token in a message is: "text", or the "token" that it names.
        today: the date for templates that show one; None is when the template is loaded.
        arguments: what the template is given besides the messages, such as {"enable_thinking": False}.
    """

    special: Literal["text", "token"] = "text"
    today: datetime | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Frame:
    """How a template ends an answer.

    Attributes:
        stop: the token that ends it: the template's own, or the tokenizer's end token.
        closing: all that is rendered after the answer's words.
        written: whether the template writes the stop token.
    """

    stop: str
    closing: str
    written: bool

    @property
    def ending(self) -> str:
        """What stands between the words and the stop token."""
        return self.closing.partition(self.stop)[0] if self.written else ""

    @property
    def after(self) -> str:
        """What is rendered after the stop token; all of it where the template writes none."""
        return self.closing.partition(self.stop)[2] if self.written else self.closing


class Voice:
    """A chat template as it is used: with a list of tools or without, and under a date.

    Args:
        tokenizer: whose template it is.
        source: its text.
        today: the date that it is told.
        arguments: see `Rendering`.
        tools: whether it is used with a list of tools.
        parted: whether it shows media by itself, as parts of a content.

    Raises:
        TemplateError: it renders no answer, or neither it nor the tokenizer has a token that ends one.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        source: str,
        today: datetime,
        arguments: Mapping[str, Any],
        *,
        tools: bool,
        parted: bool = False,
    ) -> None:
        self._tokenizer, self._parted = tokenizer, parted
        self._tools = TOOLS if tools else None
        formats = {one or other for one, other in FORMATS.findall(source)} if CLOCK in source else ()
        dates = {form: today.strftime(form) for form in formats}
        self._arguments = {**arguments, "espalier_dates": dates}
        self._source = DATED + source if CLOCK in source else source
        self._names = any_of(name for name in tokenizer.get_added_vocab() if name.strip())
        self._special = any_of(
            token.content for token in tokenizer.added_tokens_decoder.values() if token.special
        )
        made = (type(tokenizer), tokenizer.eos_token, str(tokenizer.special_tokens_map), self._source)
        given = (repr(self._arguments), tools, self._names.pattern, self._special.pattern)
        self._findings = _findings_of((*made, *given))
        self._parts: frozenset[str] = frozenset()
        self._lead, self._parts, self.sample = self._once("asked", self._asked)
        self.opened = self._once("opened", lambda: self.render([*self._lead, USER], self._tools, True))
        self.frame = self._once("frame", lambda: self._framed([*self._lead, USER], self._tools, turned=True))
        self._calling: Frame | None = None

    def render(self, turns: Sequence[Turn], tools: list[Turn] | None, opening: bool) -> str:
        """Return the text of turns. Raises TemplateError where the template refuses them."""
        return str(self._applied(self.formed(turns), tools, opening, {"tokenize": False}))

    def render_all(self, conversations: Sequence[Sequence[Turn]], opening: bool) -> list[str]:
        """Return what `render` does of each, without tools. Raises TemplateError where any is refused."""
        if not all(conversations):  # or a list of one empty list is taken for an empty conversation
            raise TemplateError("A conversation has no turn.", where=self._tokenizer.name_or_path)
        formed = [self.formed(turns) for turns in conversations]
        return list(self._applied(formed, None, opening, {"tokenize": False})) if formed else []

    def ids(
        self, turns: Sequence[Turn], tools: list[Turn] | None, opening: bool, *, sanitised: bool
    ) -> tuple[int, ...]:
        """Return the tokenizer's ids of turns; sanitised, names of special tokens in them are text.

        Raises:
            TemplateError: the template refuses them, or the tokenizer cannot have the names as text.
        """
        return tuple(
            self._applied(self.formed(turns), tools, opening, {"sanitize_control_tokens": sanitised})
        )

    @cached_property
    def traits(self) -> Traits:
        """What the template shows."""
        found, self._parts = self._once("traits", self._probed)
        return found

    @cached_property
    def stops(self) -> frozenset[str]:
        """The tokens that end answers: for those that call tools, some templates have another."""
        if not self.traits.calls:
            return frozenset((self.frame.stop,))
        called = self._once("called", lambda: self._framed_call([*self._lead, USER], self._tools))
        return frozenset((self.frame.stop, called.stop))

    def formed(self, turns: Sequence[Turn]) -> list[Turn]:
        """Return turns with their contents as texts or as lists of parts, as the template wants them."""
        return formed(turns, self._parts, parted=self._parted)

    def frame_of(self, turns: Sequence[Turn], tools: list[Turn] | None, whole: str) -> Frame:
        """Return how the last of the turns ends, which are rendered as `whole`. Raises TemplateError."""
        calls = "tool_calls" in turns[-1]
        frame = self._calling if calls else self.frame
        if frame is None or not whole.endswith(frame.closing):
            frame = (self._framed_call if calls else self._framed)(turns[:-1], tools)
            self._calling = frame if calls else self._calling
        if not whole.endswith(frame.closing):
            raise TemplateError(
                f"The chat template ends this answer with {whole[-20:]!r}, others with {frame.closing!r}, so "
                "the end of the answer is not known.",
                where=self._tokenizer.name_or_path,
            )
        return frame

    def _applied(
        self, turns: Sequence[Any], tools: list[Turn] | None, opening: bool, how: Mapping[str, bool]
    ) -> Any:
        try:
            return cast("Any", self._tokenizer).apply_chat_template(
                turns,
                tools=tools,
                chat_template=self._source,
                add_generation_prompt=opening,
                return_dict=False,
                **how,
                **self._arguments,
            )
        except (JinjaError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise TemplateError(
                f"The chat template refuses these messages: {str(error).rstrip('.')}.",
                where=self._tokenizer.name_or_path,
                hint=f"Their roles are: {', '.join(turn['role'] for turn in turns if 'role' in turn)}.",
            ) from None

    def _once(self, what: str, find: Callable[[], T]) -> T:
        """Return what was found of the template in this process, or find it."""
        if what not in self._findings:
            self._findings[what] = find()
        return self._findings[what]

    def _asked(self) -> tuple[list[Turn], frozenset[str], str]:
        """Return what leads a question, the form in which it and its answer are shown, and them rendered."""
        refusal: TemplateError | None = None
        for lead in ([], [SYSTEM]):
            for self._parts in FORMS:
                try:
                    text = self.render([*lead, USER, ANSWER], self._tools, False)
                except TemplateError as error:
                    refusal = refusal or error
                    continue
                if PROBE in text and USER["content"] in text:
                    return lead, self._parts, text
        raise refusal or TemplateError(
            "The chat template does not show a user's turn with its answer.",
            where=self._tokenizer.name_or_path,
            hint="Use a model whose template does, or set tokenizer.chat_template and save it again.",
        )

    def _probed(self) -> tuple[Traits, frozenset[str]]:
        """Return what the template shows, and the form in which it shows most."""
        found = probe_template(self.render, self._tools)
        for role, shown in (("system", found.system), ("tool", found.results)):
            if not shown:  # as text; perhaps in parts, or the other way round
                before, self._parts = self._parts, self._parts ^ {role}
                again = probe_template(self.render, self._tools)
                if again.system + again.results > found.system + found.results:
                    found = again
                else:
                    self._parts = before
        return found, self._parts

    def _framed(self, asked: Sequence[Turn], tools: list[Turn] | None, *, turned: bool = False) -> Frame:
        """Return how an answer to `asked` ends; `turned` asks what of that is there once a turn follows."""
        closing = self.render([*asked, ANSWER], tools, False).rpartition(PROBE)[2]
        middle = closing
        if turned:
            with suppress(TemplateError):
                middle = self.render([*asked, ANSWER, USER], tools, False).partition(PROBE)[2]
        for text in (shared(closing, middle), closing):
            if names := self._row_of_names(text):
                end = str(self._tokenizer.eos_token)
                return Frame(end if end in names else names[0], closing, written=True)
        return Frame(self._end(), closing, written=False)

    def _framed_call(self, asked: Sequence[Turn], tools: list[Turn] | None) -> Frame:
        """Return how a call that answers `asked` ends: `closing` begins with the stop token."""
        rest = self.render([*asked, probe_call(self.traits, PROBE)], tools, False).rpartition(PROBE)[2]
        if not self.frame.written and rest.endswith(self.frame.closing):
            return self.frame
        names = self._special.findall(rest)
        if self.frame.stop in names or names:
            stop = self.frame.stop if self.frame.stop in names else names[-1]
            return Frame(stop, rest[rest.rindex(stop) :], written=True)
        return Frame(self._end(), "", written=False)

    def _row_of_names(self, text: str) -> list[str]:
        """Return the first of the tokenizer's tokens in a text, and those that follow it at once."""
        names: list[str] = []
        match = self._names.search(text)
        while match:
            names.append(match.group())
            match = self._names.match(text, match.end())
        return names

    def _end(self) -> str:
        if self._tokenizer.eos_token:
            return str(self._tokenizer.eos_token)
        raise TemplateError(
            "Neither the chat template nor the tokenizer has a token that ends an answer.",
            where=self._tokenizer.name_or_path,
            hint="Set tokenizer.eos_token and save it again.",
        )


@lru_cache(REMEMBERED)
def _findings_of(voice: Hashable) -> dict[str, Any]:
    """Return what was found of a template, by all that its text depends on: a model is loaded many times."""
    return {}


def shared(one: str, other: str) -> str:
    """Return what two texts begin with."""
    size = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    return one[: min(len(one), len(other)) if size is None else size]
