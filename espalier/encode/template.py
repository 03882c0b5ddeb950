"""Messages to token ids: the one rendering path of training, decoding, serving and export.

A row's ids are the tokenizer's own: what `apply_chat_template` gives for the conversation, up to the stop
token of its last answer. A prompt's are what it gives with `add_generation_prompt`, and are the beginning of
the row's; all that follows, up to the stop token, is the answer. A conversation where that cannot be so is
refused with the reason (docs/decisions/ids.md).

Some templates render an earlier turn otherwise once a later one follows: without its thoughts, say. What
comes before an answer is then what the model would see before it writes that answer, and a conversation of
which several turns are trained becomes a row for each of them (`tokens.py`).

A message that quotes a control token ("what does <|im_end|> do?") quotes it: its name becomes ordinary text,
so that no row can end a turn or open one, unless the recipe wants names to be the tokens (`task.special`).
"""

from __future__ import annotations

import copy
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from inspect import signature
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import TemplateError
from espalier.core.files import content_hash
from espalier.core.records import media_in
from espalier.encode.answer import Dress
from espalier.encode.ending import ended, first_stop
from espalier.encode.kept import left_out, lost_words
from espalier.encode.media import Blocks, stand_ins_of, with_stand_ins
from espalier.encode.quotes import marked, names_in, unnamed
from espalier.encode.tokenizer import Reader, any_of
from espalier.encode.tools import lists_tools, template_turns
from espalier.encode.voice import Frame, Rendering, Voice, shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from espalier.core.records import Message
    from espalier.encode.media import Takes
    from espalier.encode.tokenizer import Tokenizer
    from espalier.encode.tools import Turn

    _Turns = tuple[Voice, list[Turn], list[Turn] | None]
    _Rendered = tuple[Voice, list[Turn], list[Turn] | None, str, str]  # with the texts of prompt and of all

RENDERING = Rendering()
# The argument with which most templates that open a thought in their prompts can be asked not to.
THINKING = "enable_thinking"


@dataclass(frozen=True, slots=True)
class Answered:
    """Ids of a conversation up to the stop token of its last answer; the first `prompt` come before that."""

    ids: tuple[int, ...]
    prompt: int


class Template:
    """A tokenizer with its chat template, and the token that the template ends an answer with.

    `prefix` are the ids that every conversation begins with besides: a soft prompt's
    (`models/soft_prompt.py`); `context` is the most tokens of a row that the model was made for; `today` is
    the date that a template is told; `control` finds the names of special tokens.

    Raises:
        TemplateError: the tokenizer has no chat template or no end token, or the template shows no answer.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        context: int = sys.maxsize,
        rendering: Rendering = RENDERING,
        takes: Takes | None = None,
    ) -> None:
        if not tokenizer.chat_template:
            raise TemplateError(
                "The tokenizer has no chat template, so there is no way to tell a prompt from an answer.",
                where=tokenizer.name_or_path,
                hint="Use an instruction-tuned model, or set tokenizer.chat_template and save it again.",
            )
        self.prefix: tuple[int, ...] = ()
        self.context = context
        self.rendering = rendering
        self._given, self._takes = tokenizer, takes
        self._tokenizer = copy.copy(tokenizer if takes is None else with_stand_ins(tokenizer, takes))
        if tokenizer.chat_control_tokens is None:  # or transformers adds those that the template writes
            self._tokenizer.chat_control_tokens = []
        self.today = rendering.today or datetime.now()
        named = set(self._tokenizer.chat_control_tokens)
        added = tokenizer.added_tokens_decoder.values()
        self.control = any_of(token.content for token in added if token.special or token.content in named)
        self._ready: dict[tuple[Message, ...], _Rendered] = {}
        self._voices: dict[bool, Voice | TemplateError] = {}
        self._main = self._voice("default" not in self._sources and "tool_use" in self._sources)
        self._reader = Reader(self._tokenizer, self._main.sample)
        self._vocabulary = tokenizer.get_vocab()
        self.blocks = Blocks(takes, stand_ins_of(self._tokenizer))
        self.stop = self._main.frame.stop
        if self.stop not in self._vocabulary:
            raise self._refused(f"The tokenizer has no token {self.stop!r}, with which answers end.")
        unknown = [name for name in rendering.arguments if not self._asks(name)]
        if unknown:
            raise TemplateError(
                f"The chat template asks for no '{unknown[0]}'.",
                where="model.template",
                hint="It would make no difference: leave it out, or look for its name in the template.",
            )

    @cached_property
    def hash(self) -> str:
        """Hash of the chat template and the vocabulary: what a generation depends on besides the weights."""
        return content_hash([self._tokenizer.chat_template, sorted(self._vocabulary.items())])

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The tokens at which a model has ended its answer."""
        stops = {self._tokenizer.eos_token, *self._main.stops}
        stops |= self._voice(True).stops if self._lists else frozenset()
        return frozenset(self._vocabulary[stop] for stop in stops if stop in self._vocabulary)

    def prefixed(self, ids: tuple[int, ...]) -> Template:
        """Return this template with `ids` before every conversation."""
        twin = copy.copy(self)
        twin.prefix = ids
        return twin

    def under(self, rendering: Rendering) -> Template:
        """Return this template with another rendering."""
        return Template(self._given, self.context, rendering, self._takes).prefixed(self.prefix)

    def seeing(self, takes: Takes) -> Template:
        """Return this template for a model that takes media."""
        return Template(self._given, self.context, self.rendering, takes).prefixed(self.prefix)

    def turns_of(self, messages: Sequence[Message]) -> tuple[list[Turn], list[Turn] | None]:
        """Return the turns and the tools that the tokenizer's template is given for messages."""
        voice, turns, tools = self._turns_of(self.blocks.bare(messages))
        return voice.formed(turns), tools

    def answered(self, messages: Sequence[Message]) -> Answered:
        """Return the ids of a conversation that ends with an answer, cut before and after that.

        Raises:
            TemplateError: the template cannot render the conversation or loses a part of it, or the prompt's
                ids are not the beginning of the conversation's.
        """
        found = self._answered(self.blocks.bare(messages))
        ids = self.blocks.put(found.ids, media_in(messages))
        return Answered(ids, len(ids) - len(found.ids) + found.prompt)

    def _answered(self, messages: tuple[Message, ...]) -> Answered:
        """Return what `answered` does, of messages with stand-ins for media."""
        voice, turns, tools, before, whole = self._ready.pop(messages, None) or self._render(messages)
        if not whole.startswith(before):
            raise self._parted(before, whole, messages)
        frame = voice.frame_of(turns, tools, whole)
        self._check(turns, before, whole.removesuffix(frame.closing))
        if self._quotes(turns, tools):
            prompt = self._ids(voice, turns[:-1], tools, before, opening=True)
            ids = self._ids(voice, turns, tools, whole, opening=False)
        else:
            prompt, ids = self._reader.ids(before), self._reader.ids(whole)
        if ids[: len(prompt)] != prompt:
            raise self._straddled(prompt, ids, messages)
        return Answered(self.prefix + self._ended(ids, len(prompt), whole, frame), len(self.prefix + prompt))

    def read_ahead(self, conversations: Iterable[Sequence[Message]]) -> None:
        """Render and read conversations together, so that `answered` costs less for each of them, once."""
        listed: list[tuple[tuple[Message, ...], _Turns]] = []
        for conversation in conversations:
            with suppress(TemplateError):  # `answered` says so
                messages = self.blocks.bare(conversation)
                listed.append((messages, self._turns_of(messages)))
        self._ready = {}
        plain = [(messages, made) for messages, made in listed if made[0] is self._main and not made[2]]
        with suppress(TemplateError):  # of any of them: `answered` renders each by itself
            before = self._main.render_all([turns[:-1] for _, (_, turns, _) in plain], True)
            whole = self._main.render_all([turns for _, (_, turns, _) in plain], False)
            texts = zip(plain, before, whole, strict=True)
            self._ready = {messages: (*made, asked, text) for (messages, made), asked, text in texts}
            self._reader.read_ahead([*before, *whole])

    def prompt_ids(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return the ids that a model is prompted with to answer `messages`. Raises TemplateError."""
        voice, turns, tools = self._turns_of(self.blocks.bare(messages))
        text = voice.render(turns, tools, True)
        self._check_turns(turns, text)
        ids = self._ids(voice, turns, tools, text, opening=True)
        return self.prefix + self.blocks.put(ids, media_in(messages))

    def is_own(self, messages: Sequence[Message]) -> bool:
        """Say whether `answered` gives what the tokenizer itself does, asked without any of this room's ways.

        Raises:
            TemplateError: see `answered`.
        """
        messages = self.blocks.bare(messages)
        found = self._answered(messages)
        ids, prompt = found.ids[len(self.prefix) :], found.prompt - len(self.prefix)
        voice, turns, tools = self._turns_of(messages)
        whole = voice.ids(turns, tools, False, sanitised=bool(self._quotes(turns, tools)))
        asked = voice.ids(turns[:-1], tools, True, sanitised=bool(self._quotes(turns[:-1], tools)))
        same = next((at for at, pair in enumerate(zip(ids, whole, strict=False)) if pair[0] != pair[1]), None)
        ended = same is None or (same == len(ids) - 1 and ids[-1] in self.stop_ids)  # a stop that is added
        return ended and len(whole) >= len(ids) - 1 and ids[:prompt] == asked

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """Return the text that a model is prompted with."""
        voice, turns, tools = self._turns_of(self.blocks.bare(messages))
        return voice.render(turns, tools, True)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of an answer's ids, without special tokens and what the template adds to it."""
        return self.dress.taken_off(ids)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the text that each token adds, special tokens included, for showing."""
        return self.blocks.pieces(ids, self._reader.pieces)

    def quoted(self, messages: Sequence[Message]) -> set[str]:
        """Return the names of special tokens that the texts of messages hold."""
        parts = (part for turn in messages for part in turn.parts)
        return names_in([getattr(part, field.name) for part in parts for field in fields(part)], self.control)

    @cached_property
    def dress(self) -> Dress:
        """What stands around the words of an answer."""
        return Dress(self._reader, self._main.opened, self._main.sample, self._main.frame)

    @cached_property
    def _sources(self) -> dict[str, str]:
        """The texts of the tokenizer's chat templates by their names; a single one is the default."""
        template = self._tokenizer.chat_template
        named = cast("dict[str, str]", template) if isinstance(template, dict) else {"default": str(template)}
        return dict(named)

    def _asks(self, name: str) -> bool:
        """Say whether a template asks for an argument of this name that is not transformers' own."""
        own = {"messages", *signature(cast("Any", self._tokenizer).apply_chat_template).parameters}
        word = re.compile(rf"\b{re.escape(name)}\b")
        return name not in own and any(word.search(text) for text in self._sources.values())

    def _voice(self, tools: bool) -> Voice:
        """Return the template for conversations with a list of tools or without, as transformers chooses."""
        if tools not in self._voices:
            try:
                self._voices[tools] = self._chosen(tools)
            except TemplateError as error:
                self._voices[tools] = error
        voice = self._voices[tools]
        if isinstance(voice, TemplateError):
            raise voice
        return voice

    def _chosen(self, tools: bool) -> Voice:
        name = "tool_use" if tools and "tool_use" in self._sources else "default"
        if name not in self._sources:
            raise TemplateError(
                f"The tokenizer has several chat templates ({', '.join(sorted(self._sources))}), and none is "
                "named 'default'.",
                where=self._tokenizer.name_or_path,
                hint="Save the one to use as chat_template.jinja in the model's folder.",
            )
        source, arguments = self._sources[name], self.rendering.arguments
        parted = bool(self._takes and self._takes.shown)
        return Voice(self._tokenizer, source, self.today, arguments, tools=tools, parted=parted)

    @cached_property
    def _lists(self) -> bool:
        """Whether lists of tools are the template's to show: it shows them, and calls too."""
        try:
            knows = self._voice(True).traits
        except TemplateError:
            return False
        return knows.tools and bool(knows.calls)

    def _turns_of(self, messages: Sequence[Message]) -> _Turns:
        listing = lists_tools(messages) and self._lists
        voice = self._voice(listing)
        return voice, *template_turns(messages, voice.traits, listing=listing)

    def _render(self, messages: tuple[Message, ...]) -> _Rendered:
        """Return what `_turns_of` does, and the texts of the prompt and of all of it."""
        voice, turns, tools = self._turns_of(messages)
        return voice, turns, tools, voice.render(turns[:-1], tools, True), voice.render(turns, tools, False)

    def _ids(
        self, voice: Voice, turns: Sequence[Turn], tools: list[Turn] | None, text: str, *, opening: bool
    ) -> tuple[int, ...]:
        """Return the ids of turns that are rendered as `text`."""
        names = self._quotes(turns, tools)
        if not names:
            return self._reader.ids(text)
        acting = self._refused(
            f"The name of a special token cannot be text in a message: {' and '.join(sorted(names))}.",
            'Set task.special = "token" to make it the token, or leave the row out.',
        )
        try:
            ids = voice.ids(turns, tools, opening, sanitised=True)
        except TemplateError:  # some tokenizers have the token in plain text, too
            raise acting from None
        # Whether any of them acts after all is seen beside the same conversation without them.
        plain, listed = unnamed((turns, tools), self.control)
        bare = voice.render(plain, listed, opening)
        tokens = {self._vocabulary[name] for name in names}
        acts = any(ids.count(token) != self._reader.ids(bare).count(token) for token in tokens)
        if acts or marked([turns, tools]):
            raise acting
        return ids

    def _quotes(self, turns: Sequence[Turn], tools: list[Turn] | None) -> set[str]:
        """Return the names of special tokens that are to be text."""
        return names_in([turns, tools], self.control) if self.rendering.special == "text" else set()

    def _check_turns(self, turns: Sequence[Turn], rendered: str) -> None:
        """Refuse a conversation of which the template left something out."""
        lost = left_out(rendered, turns)
        if lost:
            raise self._refused(
                f"The chat template leaves out a turn of the {lost['role']}: {lost['content'][:40]!r}.",
                "Train a model whose template shows it, or remove the turn.",
            )

    def _check(self, turns: Sequence[Turn], before: str, body: str) -> None:
        """Refuse a row if its template left something out of the answer, or out of a turn before it."""
        self._check_turns(turns, body)
        lost = lost_words(body, body[len(before) :], turns[-1])
        if lost:
            raise self._refused(
                f"The chat template leaves out a part of the answer {lost[:40]!r}, or changes it.",
                "Train a model whose template shows all of it, or write the row as the template does.",
            )

    def _parted(self, before: str, whole: str, messages: Sequence[Message]) -> TemplateError:
        """Say where the rendered prompt is not the beginning of the rendered conversation."""
        at = len(shared(before, whole))
        return self._refused(
            "What the chat template renders for a prompt is not the beginning of what it renders for the "
            f"prompt with its answer: {before[at:][:20]!r} against {whole[at:][:20]!r}.",
            self._remedy(messages)
            or "A model would be asked otherwise than it was trained: set another chat_template.",
        )

    def _straddled(
        self, prompt: tuple[int, ...], ids: tuple[int, ...], messages: Sequence[Message]
    ) -> TemplateError:
        """Say which token reaches over the end of a prompt."""
        at = next((n for n, pair in enumerate(zip(prompt, ids, strict=False)) if pair[0] != pair[1]), 0)
        read = self.pieces(ids[at : at + 1])[0] if at < len(ids) else ""
        return self._refused(
            f"The tokenizer reads the end of the prompt and the beginning of the answer as one: {read!r}. A "
            "model that is given the prompt cannot write that.",
            self._remedy(messages)
            or "Begin the answer without white space, or end the template's prompt before it.",
        )

    def _remedy(self, messages: Sequence[Message]) -> str:
        """Return what to do where the template need only open no thought in its prompts, or else ''."""
        if self._silent is None:
            return ""
        try:
            self._silent.answered(messages)
        except TemplateError:
            return ""
        return "With model.template = {enable_thinking = false} it fits: prompts open no thought then."

    @cached_property
    def _silent(self) -> Template | None:
        """The same template, asked for prompts that open no thought; None where it cannot be or is so."""
        asked = {**self.rendering.arguments, THINKING: False}
        if asked == self.rendering.arguments or not self._asks(THINKING):
            return None
        try:
            return self.under(replace(self.rendering, arguments=asked))
        except TemplateError:
            return None

    def _refused(self, message: str, hint: str = "") -> TemplateError:
        return TemplateError(message, where=self._tokenizer.name_or_path, hint=hint)

    def _ended(self, ids: tuple[int, ...], prompt: int, whole: str, frame: Frame) -> tuple[int, ...]:
        """Return the ids up to the answer's stop token. Raises TemplateError."""
        try:
            own = ended(self._reader, ids, prompt, whole, frame, self._vocabulary[frame.stop])
        except TemplateError as error:
            raise self._refused(error.message) from None
        early = first_stop(own[prompt:-1], self.stop_ids)
        if early is not None:
            name = self.pieces([early])[0]
            raise self._refused(f"The answer holds {name!r}, at which a model stops, before its end.")
        return own
