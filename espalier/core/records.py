"""The records that travel between the rooms. All are frozen; recipe, code and report use the same names.

A `Task` says what is asked. An `Example` is one thing to train on or to score. `Encoded` is an example in
tokens. A `Completion` is what a model wrote for an example. What comes of judging it (`Score`, `Metric`,
`Estimate`) is in `scoring.py`, and has its names here too.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from espalier.core.errors import DataError
from espalier.core.scoring import Estimate as Estimate
from espalier.core.scoring import Fitted as Fitted
from espalier.core.scoring import Measured as Measured
from espalier.core.scoring import Metric as Metric
from espalier.core.scoring import Score as Score
from espalier.core.scoring import Scorer as Scorer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from espalier.core.recipe import Choice

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
Finish: TypeAlias = Literal["stop", "length", "error"]
# What a row of tokens is to its example: its trained answer, a worse answer, or one that the model sampled.
RowRole: TypeAlias = Literal["answer", "rejected", "sample"]


@dataclass(frozen=True, slots=True)
class Text:
    """A part of a message that is text."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """A part of an assistant's message: what it thought before it spoke."""

    text: str

    @property
    def tagged(self) -> str:
        """The thought as text, as most models write it before their answer."""
        return f"<think>\n{self.text}\n</think>\n\n"


@dataclass(frozen=True, slots=True)
class Media:
    """A part of a message that is an image or a sound: the file whose bytes have this `sha256`.

    `uri` is where it lies, an absolute path, and no part of what it is: of no comparison, id or key.
    """

    kind: Literal["image", "audio"]
    uri: str = field(compare=False)
    sha256: str

    @property
    def name(self) -> str:
        """What tells it from all others in a text."""
        return f"{self.kind}-{self.sha256}"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A part of an assistant's message that calls a tool; `arguments` is JSON text."""

    name: str
    arguments: str

    @property
    def text(self) -> str:
        """The call as text, in the form of Hermes 2 Pro, which most templates with tools share."""
        name = json.dumps(self.name, ensure_ascii=False)
        return f'<tool_call>\n{{"name": {name}, "arguments": {self.arguments}}}\n</tool_call>'


@dataclass(frozen=True, slots=True)
class ToolList:
    """A part of a system message that lists the tools: JSON text, a list as OpenAI's `tools`."""

    schemas: str


Part: TypeAlias = Text | Thought | Media | ToolCall | ToolList


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `trained` marks an assistant's turn whose tokens carry loss."""

    role: Role
    parts: tuple[Part, ...]
    trained: bool = False

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise DataError(
                f"A message has the unknown role '{self.role}'; expected one of {', '.join(ROLES)}."
            )
        if self.trained and self.role != "assistant":
            raise DataError(
                f"A message of the {self.role} is marked as trained; only the assistant's can be."
            )

    @property
    def text(self) -> str:
        """Thoughts in tags and the text parts, joined, and each tool call as text on lines of its own."""
        return "\n".join([*([words] if (words := self.thought + self.words) else []), *self.calls])

    @property
    def words(self) -> str:
        """The text parts joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def thought(self) -> str:
        """What it thought, in tags; '' where it did not say."""
        return "".join(part.tagged for part in self.parts if isinstance(part, Thought))

    @property
    def calls(self) -> list[str]:
        """Each tool call as text."""
        return [part.text for part in self.parts if isinstance(part, ToolCall)]

    @property
    def media(self) -> tuple[Media, ...]:
        """Its pictures and sounds."""
        return tuple(part for part in self.parts if isinstance(part, Media))

    def showing(self, put: Callable[[Media], Sequence[Part]]) -> Message:
        """Return it with what `put` gives in the place of each of its media."""
        if not self.media:
            return self
        made = (put(part) if isinstance(part, Media) else [part] for part in self.parts)
        return replace(self, parts=tuple(part for several in made for part in several))


def media_in(messages: Iterable[Message]) -> list[Media]:
    """Return the pictures and sounds of messages in their order."""
    return [part for turn in messages for part in turn.media]


def message(role: Role, text: str, *, trained: bool = False) -> Message:
    """Return a message of one text part."""
    return Message(role, (Text(text),), trained)


@dataclass(frozen=True, slots=True)
class Example:
    """One row: `messages` with the trained answer, or the prompt alone where it is only scored.

    Attributes:
        id: hash of the content (see `example_id`); the same content has the same id in every file and run.
        task: name of the task.
        source: what rows share for clustering, e.g. the source sentence; rows of one source are never split.
        messages: the conversation; at most the last message of a prompt–answer row is trained.
        references: accepted answers, for scoring.
        rejected: worse answers to the prompt: of a preference pair, or one that a person turned down.
        origin: how it was made: file and row, or prompt, model and request.
        input: the task's own input, without definition and examples: what checks and the report look at.
        facts: what scorers need besides, as JSON values: "options", "schema", "tests" and others. They are no
            part of the prompt and of the id. "train" false: the row is not trained on.
    """

    id: str
    task: str
    source: str
    messages: tuple[Message, ...]
    references: tuple[str, ...] = ()
    rejected: tuple[Message, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict[str, Any])
    input: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if not self.messages:
            raise DataError("A row has no message.", where=str(self.origin or self.id))
        if not (self.references or self.rejected or self.facts or any(m.trained for m in self.messages)):
            raise DataError(
                "A row has nothing to train on and nothing to score.", where=str(self.origin or self.id)
            )

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the last trained one: what a model is given to answer."""
        for index in range(len(self.messages) - 1, -1, -1):
            if self.messages[index].trained:
                return self.messages[:index]
        return self.messages

    @property
    def media(self) -> tuple[Media, ...]:
        """All pictures and sounds, in the order of the messages; one that is there twice is there twice."""
        return tuple(media_in(self.messages))

    @property
    def asked(self) -> str:
        """Its input under the names of its media: what tells whether two rows ask the same."""
        return " ".join([*(one.name for one in self.media), self.input])

    @property
    def answer(self) -> str:
        """The text of the last trained message, or the first reference, or ''."""
        for turn in reversed(self.messages):
            if turn.trained:
                return turn.text
        return self.references[0] if self.references else ""


def example_id(*content: object) -> str:
    """Return 16 hexadecimal digits that are the same for the same content, on every machine."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A worked example inside a task: a good answer, or a bad one, with the explanation why."""

    input: str
    output: str
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One instance of a task: its input, all accepted outputs, and those that someone turned down.

    Rows of one `source` belong together. A row may have rejected outputs only.
    """

    id: str
    input: str
    outputs: tuple[str, ...]
    source: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """How a task's prompt is laid out: what stands before an input and an answer, between blocks, and where.

    `last` puts the definition and its cautions behind the input; `mark` stands before each caution.
    """

    input: str = "Input: "
    output: str = "Output: "
    good: str = "Good example"
    bad: str = "Bad example"
    between: str = "\n\n"
    mark: str = "- "
    last: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked of a model, as a person would explain it, with rows to learn and to score from.

    Attributes:
        checks: names in the registry `espalier.tasks.checks.checks`: the cautions as executable checks.
        licence: as stated by the file; 'Unknown' where it does not say.
        origin: the file it came from.
    """

    name: str
    definition: str
    rows: tuple[TaskRow, ...]
    positive: tuple[Demonstration, ...] = ()
    negative: tuple[Demonstration, ...] = ()
    cautions: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    licence: str = "Unknown"
    origin: str = ""
    layout: Layout = Layout()


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example in tokens.

    Attributes:
        ids: token ids of the whole row, prompt and answer.
        weights: loss weight of each token *as a target*, 0.0 on the prompt; same length as `ids`.
        prompt: number of leading tokens that a generation is prompted with.
        example: id of the example.
        role: what the row is to its example; `number` counts those of one role.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    prompt: int
    example: str
    role: RowRole = "answer"
    number: int = 0

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.weights):
            raise DataError(
                f"A row has {len(self.ids)} tokens and {len(self.weights)} weights.", where=self.example
            )
        if not sum(self.weights) > 0:
            raise DataError("Every token of the row is masked: nothing would be learned.", where=self.example)


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote for an example; `request` is the hash of all that determines it.

    `logprob` is the sum over the answer's tokens, in nats, under the model that wrote it. `votes` are how
    many of several answers said the same, where that chose it; `options`, where the answer is one of its
    example's options, of each its log-probability and its tokens; `reference`, where a scorer asks for it,
    the same of the example's first reference.
    """

    example: str
    text: str
    ids: tuple[int, ...] = ()
    sample: int = 0
    logprob: float | None = None
    finish: Finish = "stop"
    request: str = ""
    votes: int | None = None
    options: tuple[tuple[float, int], ...] = ()
    reference: tuple[float, int] | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it; options and reference only where there are any."""
        table = {one.name: self.__getattribute__(one.name) for one in fields(self)}
        return {name: one for name, one in table.items() if one or name not in ("options", "reference")}


@dataclass(frozen=True, slots=True)
class Ranks:
    """A process's place among those of its run. `sharded`: each holds a share of the weights (FSDP2)."""

    rank: int = 0
    size: int = 1
    sharded: bool = False


ALONE = Ranks()


class Generator(Protocol):
    """Something that answers prompts: a local model, a server, a baseline."""

    def generate(self, examples: Sequence[Example], settings: Choice) -> Iterator[Completion]:
        """Yield one completion per example and sample, in any order, each one as soon as it is made.

        A text is enough: what writes elsewhere may know no token ids, no log-probability and no request key.

        Args:
            examples: their prompts are answered.
            settings: what a recipe's `[decode]` says: a strategy by its name, with its parameters.

        Raises:
            RecipeError: the settings do not fit.
            DataError: a prompt leaves an answer no room.
            GenerationError: an answer failed; `retryable` says whether asking again may help. What was
                yielded before stands.
        """
        ...


class Likelihood(Protocol):
    """Something that knows how likely a model finds given continuations."""

    def logprobs(self, examples: Sequence[Example], options: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return the log-probability in nats of each option as the answer to its example's prompt.

        The token that ends an answer counts. Who has no options gets an empty list.

        Args:
            examples: their prompts.
            options: of each example; they need not be as many.

        Raises:
            TemplateError: a prompt cannot be rendered with one of its options.
            DataError: a prompt with one of its options does not fit into the model's context.
        """
        ...


class Tracker(Protocol):
    """A place where the events of a run go, besides `events.jsonl`."""

    def log(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        ...
