"""Messages to token ids: the one rendering path of training, decoding, serving and export.

A conversation is rendered by the model's own chat template and cut into segments at each assistant turn:
what comes before an answer, the answer with its stop token, and so on. Each segment is tokenised apart, so
that the ids of a prompt are a prefix of the ids of the same prompt with its answer, whatever the tokenizer
merges; and the mask is known from the cuts, not from markers inside the template.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from espalier.core.errors import TemplateError
from espalier.core.files import content_hash
from espalier.core.records import Text, message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Message

# Stands for an answer while the text that a template puts after one is measured; no template produces it.
PROBE = "\u241fanswer\u241f"


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    chat_template: Any
    eos_token: Any
    name_or_path: str

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> Any:
        """Render messages as text."""
        ...

    def __call__(self, text: str, *, add_special_tokens: bool) -> Any:
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


@dataclass(frozen=True, slots=True)
class Segment:
    """Token ids of a stretch of a conversation; `trained` marks an answer with its stop token."""

    ids: tuple[int, ...]
    trained: bool


class Template:
    """A tokenizer with its chat template, and the stop token that the template ends an answer with.

    Raises:
        TemplateError: the tokenizer has no chat template, or it changes what it renders for a prompt once an
            answer follows.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        if not tokenizer.chat_template:
            raise TemplateError(
                "The tokenizer has no chat template, so there is no way to tell a prompt from an answer.",
                where=tokenizer.name_or_path,
                hint="Use an instruction-tuned model, or set tokenizer.chat_template and save it again.",
            )
        self._tokenizer = tokenizer
        self.stop = self._find_stop()
        vocabulary = tokenizer.get_added_vocab()
        self.stop_ids: frozenset[int] = frozenset(
            vocabulary[token] for token in (self.stop, tokenizer.eos_token) if token in vocabulary
        )

    @property
    def hash(self) -> str:
        """Hash of the chat template and the vocabulary: what a generation depends on besides the weights."""
        return content_hash([self._tokenizer.chat_template, sorted(self._tokenizer.get_vocab().items())])

    def segments(self, messages: Sequence[Message]) -> list[Segment]:
        """Return the conversation as tokenised segments, answers apart from what comes between them.

        Messages that end with the user's turn get the opening of an answer, ready for generation.
        """
        segments: list[Segment] = []
        done = ""
        for index, turn in enumerate(messages):
            if turn.role != "assistant":
                continue
            before = self._render(messages[:index], opening=True)
            segments.append(Segment(self._ids(self._after(done, before)), trained=False))
            answer = self._rendered_answer(messages[: index + 1], before)
            segments.append(Segment(self._ids(answer + self.stop), turn.trained))
            done = before + answer + self.stop
        if messages[-1].role != "assistant":
            whole = self._render(messages, opening=True)
            segments.append(Segment(self._ids(self._after(done, whole)), trained=False))
        return segments

    def prompt_ids(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return the ids that a model is prompted with to answer `messages`."""
        return tuple(token for segment in self.segments(messages) for token in segment.ids)

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """Return the text that a model is prompted with."""
        return self._render(messages, opening=True)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of an answer's ids, without special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the text of each token by itself, special tokens included, for showing."""
        return [str(self._tokenizer.decode([token], skip_special_tokens=False)) for token in ids]

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _render(self, messages: Sequence[Message], *, opening: bool) -> str:
        turns = [{"role": turn.role, "content": _content(turn)} for turn in messages]
        return str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=opening))

    def _after(self, done: str, text: str) -> str:
        if not text.startswith(done):
            raise TemplateError(
                "The chat template renders earlier turns differently once a later turn follows, so histories "
                "cannot be shared.",
                where=self._tokenizer.name_or_path,
                hint="Some templates drop reasoning from earlier turns; train it on single turns.",
            )
        return text[len(done) :]

    def _rendered_answer(self, messages: Sequence[Message], before: str) -> str:
        """Return the answer as the template renders it (some trim white space), without what follows it."""
        rest = self._after(before, self._render(messages, opening=False))
        return rest[: len(rest) - len(self._closing)] if self._closing else rest

    def _find_stop(self) -> str:
        """Return the first special token after an answer, or the tokenizer's own end token."""
        user = message("user", "Hello")
        before = self._render([user], opening=True)
        whole = self._render([user, message("assistant", PROBE)], opening=False)
        if not whole.startswith(before) or PROBE not in whole[len(before) :]:
            raise TemplateError(
                "What the chat template renders for a prompt is not the beginning of what it renders for "
                "the prompt with its answer.",
                where=self._tokenizer.name_or_path,
            )
        self._closing = whole[whole.index(PROBE, len(before)) + len(PROBE) :]
        specials = [token for token in self._tokenizer.get_added_vocab() if token in self._closing]
        if specials:
            return min(specials, key=self._closing.index)
        return str(self._tokenizer.eos_token)


def _content(turn: Message) -> str:
    for part in turn.parts:
        if not isinstance(part, Text):
            raise TemplateError(f"A message holds a {type(part).__name__}; this template renders text only.")
    return turn.text
