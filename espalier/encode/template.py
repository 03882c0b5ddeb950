"""Messages to token ids: the one rendering path of training, decoding, serving and export.

A conversation is rendered by the model's own chat template and cut into segments at each assistant turn:
what comes before an answer, the answer with its stop token, and so on. Each segment is tokenised apart, so
that the ids of a prompt are a prefix of the ids of the same prompt with its answer, whatever the tokenizer
merges; and the mask is known from the cuts, not from markers inside the template.

Some templates render an earlier turn otherwise once a later one follows: without its reasoning, say. What
comes before an answer is then what the model would see before it writes that answer, and a conversation of
which several turns are trained becomes a row for each of them (`tokens.py`).

A message that quotes a control token ("what does <|im_end|> do?") quotes it: the name is set aside while the
template renders, and comes back as ordinary text, so that no row can end a turn or open one.
"""

from __future__ import annotations

import copy
import re
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from jinja2 import TemplateError as JinjaError

from espalier.core.errors import TemplateError
from espalier.core.files import content_hash
from espalier.core.records import Media
from espalier.encode.tools import Known, Turn, given, known, left_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.core.records import Message

# Stands for an answer while the text that a template puts around one is measured; no template produces it.
PROBE = "\u241fanswer\u241f"
# Stand for a quoted control token, as its number between the two. Noncharacters: no text has them.
OPEN, CLOSE = "\ufdd0", "\ufdd1"
LONGEST_CHARACTER = 4  # bytes, and so tokens


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    chat_template: Any
    eos_token: Any
    name_or_path: str
    added_tokens_decoder: Mapping[int, Any]

    def apply_chat_template(
        self,
        conversation: list[dict[str, Any]],
        *,
        tools: list[dict[str, Any]] | None,
        tokenize: bool,
        add_generation_prompt: bool,
    ) -> Any:
        """Render messages as text."""
        ...

    def __call__(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> Any:
        """Return a mapping with `input_ids`."""
        ...

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> Any:
        """Return the text of ids."""
        ...

    def get_added_vocab(self) -> dict[str, int]:
        """Return the special and added tokens."""
        ...

    def get_vocab(self) -> dict[str, int]:
        """Return all tokens."""
        ...


class RewrittenError(TemplateError):
    """A conversation that cannot be one row, since a trained answer is rendered otherwise later on."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Token ids of a stretch of a conversation; `trained` marks an answer with its stop token."""

    ids: tuple[int, ...]
    trained: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """What a template puts around an answer.

    Attributes:
        header: opening of an answer that the template leaves out of its prompts; it belongs to the prompt.
        lead: white space before an answer; it belongs to the answer, or tokenizers would not merge the two.
        stop: the token that ends an answer.
        ending: what an answer ends with up to the stop token, as far as the template renders it.
        closing: all that is rendered after an answer.
    """

    header: str
    lead: str
    stop: str
    ending: str
    closing: str


class Template:
    """A tokenizer with its chat template, and the stop token that the template ends an answer with.

    `prefix` are the ids that every conversation begins with besides: a soft prompt's
    (`models/soft_prompt.py`); `context` is the most tokens of a row that the model was made for.

    Raises:
        TemplateError: the tokenizer has no chat template or no end token, or the template changes what it
            renders for a prompt once an answer follows.
    """

    def __init__(self, tokenizer: Tokenizer, context: int = sys.maxsize) -> None:
        if not tokenizer.chat_template:
            raise TemplateError(
                "The tokenizer has no chat template, so there is no way to tell a prompt from an answer.",
                where=tokenizer.name_or_path,
                hint="Use an instruction-tuned model, or set tokenizer.chat_template and save it again.",
            )
        self.prefix: tuple[int, ...] = ()
        self.context = context
        self._tokenizer = tokenizer
        specials = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        names = sorted(specials, key=lambda name: (-len(name), name))
        self._control = re.compile("|".join(map(re.escape, names)) or "(?!)")
        self._quotable = re.compile("|".join(map(re.escape, [*names, OPEN])))
        self._names = [*names, OPEN]
        self._frame = self._measured()
        self.stop = self._frame.stop
        vocabulary = tokenizer.get_vocab()
        ends = (self.stop, tokenizer.eos_token)
        self.stop_ids: frozenset[int] = frozenset(vocabulary[end] for end in ends if end in vocabulary)

    @cached_property
    def hash(self) -> str:
        """Hash of the chat template and the vocabulary: what a generation depends on besides the weights."""
        return content_hash([self._tokenizer.chat_template, sorted(self._tokenizer.get_vocab().items())])

    def prefixed(self, ids: tuple[int, ...]) -> Template:
        """Return this template with `ids` before every conversation."""
        twin = copy.copy(self)
        twin.prefix = ids
        return twin

    def segments(self, messages: Sequence[Message]) -> list[Segment]:
        """Return the conversation as tokenised segments, answers apart from what comes between them.

        Messages that end with the user's turn get the opening of an answer, ready for generation.

        Raises:
            RewrittenError: the template renders a trained turn otherwise once a later one follows.
            TemplateError: the template cannot render the conversation.
        """
        segments: list[Segment] = []
        done = ""
        for index, turn in enumerate(messages):
            if turn.role != "assistant":
                continue
            before = self._prompt(messages[:index])
            segments = self._up_to(before, done, segments)
            answer = self._answer(messages[: index + 1], before)
            segments.append(Segment(self._ids(answer + (self._frame.ending or self.stop)), turn.trained))
            done = before + answer + self._frame.ending
        if messages[-1].role != "assistant":
            whole = self._prompt(messages)
            segments = self._up_to(whole, done, segments)
            done = whole
        self._check(messages, done)
        segments[0] = replace(segments[0], ids=self.prefix + segments[0].ids)
        return segments

    def prompt_ids(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return the ids that a model is prompted with to answer `messages`."""
        return tuple(token for segment in self.segments(messages) for token in segment.ids)

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """Return the text that a model is prompted with."""
        return self._unquoted(self._prompt(messages))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of an answer's ids, without special tokens and what the template adds to it."""
        text = str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        return text.removeprefix(self._frame.lead).removesuffix(self._frame.ending.removesuffix(self.stop))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the text that each token adds, special tokens included, for showing.

        A character that is split over tokens is shown at its last one. A token is decoded after the one
        before it, for by themselves some tokenizers' tokens lose the space they begin with.
        """
        pieces: list[str] = []
        start, before = 0, ""
        for end in range(1, len(ids) + 1):
            text = str(self._tokenizer.decode(list(ids[start:end]), skip_special_tokens=False))
            if text.endswith("\ufffd") and end < len(ids) and end - start <= LONGEST_CHARACTER:
                pieces.append("")
                continue
            pieces.append(text[len(before) :])
            start = end - 1
            before = str(self._tokenizer.decode([ids[start]], skip_special_tokens=False))
        return pieces

    def _ids(self, text: str) -> tuple[int, ...]:
        if OPEN not in text:
            return self._tokenised(text, plain=False)
        # What a message quotes looks like the template's own tokens once it is back in place, so the two are
        # tokenised apart: the template's by name, all else as text in which no name means anything.
        ids: list[int] = []
        start = 0
        for match in self._control.finditer(text):
            ids.extend(self._tokenised(self._unquoted(text[start : match.start()]), plain=True))
            ids.extend(self._tokenised(match.group(), plain=False))
            start = match.end()
        return (*ids, *self._tokenised(self._unquoted(text[start:]), plain=True))

    def _tokenised(self, text: str, *, plain: bool) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False, split_special_tokens=plain)["input_ids"])

    def _quoted(self, text: str) -> str:
        return self._quotable.sub(lambda match: f"{OPEN}{self._names.index(match.group())}{CLOSE}", text)

    def _unquoted(self, text: str) -> str:
        return re.sub(f"{OPEN}([0-9]+){CLOSE}", lambda match: self._names[int(match.group(1))], text)

    def _prompt(self, messages: Sequence[Message]) -> str:
        return self._render(messages, opening=True) + self._frame.header

    def _render(self, messages: Sequence[Message], *, opening: bool) -> str:
        turns, tools = self._given(messages)
        return self._rendered(turns, tools, opening)

    def _given(self, messages: Sequence[Message]) -> tuple[list[Turn], list[Turn] | None]:
        for turn in messages:
            if any(isinstance(part, Media) for part in turn.parts):
                raise TemplateError("A message holds a Media; this template renders text only.")
        return given(messages, self._known, self._quoted)

    @cached_property
    def _known(self) -> Known:
        return known(self._rendered, self._frame.header, self._frame.closing)

    def _rendered(self, turns: list[Turn], tools: list[Turn] | None, opening: bool) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    turns, tools=tools, tokenize=False, add_generation_prompt=opening
                )
            )
        except (JinjaError, TypeError) as error:
            raise TemplateError(
                f"The chat template refuses these messages: {error}.",
                where=self._tokenizer.name_or_path,
                hint=f"Their roles are: {', '.join(turn['role'] for turn in turns)}.",
            ) from None

    def _check(self, messages: Sequence[Message], rendered: str) -> None:
        """Refuse a conversation of which the template left something out."""
        turns, _ = self._given(messages)
        lost = left_out(rendered, turns)
        if lost:
            raise TemplateError(
                f"The chat template leaves out a turn of the {lost['role']}: {lost['content'][:40]!r}.",
                where=self._tokenizer.name_or_path,
                hint="Train a model whose template shows it, or remove the turn.",
            )

    def _up_to(self, prompt: str, done: str, segments: list[Segment]) -> list[Segment]:
        """Return `segments`, which are `done`, and the rest of `prompt`; one for all that it renders anew."""
        if prompt.startswith(done):
            return [*segments, Segment(self._ids(prompt[len(done) :]), trained=False)]
        if any(segment.trained for segment in segments):
            raise self._rewritten()
        return [Segment(self._ids(prompt), trained=False)]

    def _rewritten(self) -> RewrittenError:
        return RewrittenError(
            "The chat template renders earlier turns differently once a later turn follows, so they "
            "cannot be trained in one row.",
            where=self._tokenizer.name_or_path,
        )

    def _answer(self, messages: Sequence[Message], before: str) -> str:
        """Return the last message as the template renders it (some trim it), without what follows it."""
        whole = self._render(messages, opening=False)
        if not whole.startswith(before):
            raise self._rewritten()
        rest = whole[len(before) :]
        if not rest.endswith(self._frame.closing):
            raise TemplateError(
                f"The chat template ends this answer with {rest[-20:]!r}, others with "
                f"{self._frame.closing!r}, so the end of the answer is not known.",
                where=self._tokenizer.name_or_path,
            )
        return rest.removesuffix(self._frame.closing)

    def _measured(self) -> Frame:
        """Render a conversation around a known answer and return what stands before and after it."""
        user = {"role": "user", "content": "Hello"}
        before = self._rendered([user], None, True)
        whole = self._rendered([user, {"role": "assistant", "content": PROBE}], None, False)
        opening, found, closing = whole[len(before) :].partition(PROBE)
        if not whole.startswith(before) or not found:
            raise TemplateError(
                "What the chat template renders for a prompt is not the beginning of what it renders for "
                "the prompt with its answer.",
                where=self._tokenizer.name_or_path,
            )
        header, lead = (opening, "") if opening.strip() else ("", opening)
        names = [name for name in self._tokenizer.get_added_vocab() if name.strip() and name in closing]
        if names:
            stop = min(names, key=lambda name: (closing.index(name), -len(name)))
            return Frame(header, lead, stop, closing[: closing.index(stop)] + stop, closing)
        if self._tokenizer.eos_token:
            return Frame(header, lead, str(self._tokenizer.eos_token), "", closing)
        raise TemplateError(
            "Neither the chat template nor the tokenizer has a token that ends an answer.",
            where=self._tokenizer.name_or_path,
            hint="Set tokenizer.eos_token and save it again.",
        )
