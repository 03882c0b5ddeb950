"""Who writes rows, how it is asked, and what a step of generation is.

A step is a function from rows and an `Author` to new rows, each with its origin, and what it could not use,
each with the reason. It asks in batches whose prompts begin alike, so that a local model computes that
beginning once. With the same rows, seed and answers it yields the same, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from espalier.core.errors import RecipeError
from espalier.core.recipe import Choice
from espalier.core.records import Example, Finish, Message, example_id, message
from espalier.core.registry import Registry
from espalier.data.judgement import filters
from espalier.generate.parsing import unthought
from espalier.tasks.templates import normalised

if TYPE_CHECKING:
    from espalier.core.records import Generator

BATCH = 256  # prompts that are asked at once
SHORT = 4  # tokens of a yes, a no or a grade


@dataclass(frozen=True, slots=True)
class Author:
    """What writes.

    Attributes:
        generator: a local model, a server, or anything else that answers prompts.
        model: its name, for the origin of rows.
        settings: how it writes, as a recipe's `[decode]` says.
        schemas: whether it takes a `json_schema` among its settings, as some servers do.
    """

    generator: Generator
    model: str
    settings: Choice
    schemas: bool = False

    def deciding(self, limit: int) -> Author:
        """Return the same for short answers that are not drawn: yes or no, a grade."""
        return replace(self, settings=_chosen("greedy", {"limit": limit}))

    def drawing(self, samples: int, where: str) -> Author:
        """Return the same with several answers to each prompt. Raises RecipeError where it draws none."""
        return replace(self, settings=drawn(self.settings, samples, where))

    def keeping_to(self, schema: Mapping[str, Any]) -> Author:
        """Return the same with answers of a JSON schema, where it takes one."""
        if not self.schemas:
            return self
        kept = _chosen(self.settings.kind, {**self.settings.params, "json_schema": schema})
        return replace(self, settings=kept)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of an author: its text without spaces around it, its request, and why it ended."""

    text: str
    request: str
    finish: Finish

    @property
    def fault(self) -> str:
        """Why it cannot be used as it is; '' where it can."""
        if self.finish == "error":
            return "The server did not answer the prompt."
        if self.finish == "length":
            return "The answer was cut off at the limit of tokens."
        return "" if self.text else "The answer is empty."


@dataclass(frozen=True, slots=True)
class Reject:
    """What a step could not use.

    Attributes:
        step: its name.
        reason: in a sentence, the same for all of its kind, so that they can be counted.
        text: what was written.
        parents: ids of the rows that it was made from.
        request: the hash of the request.
    """

    step: str
    reason: str
    text: str = ""
    parents: tuple[str, ...] = ()
    request: str = ""


Made: TypeAlias = Example | Reject
Step: TypeAlias = Callable[[Sequence[Example], Author], Iterator[Made]]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A step that draws several answers to each prompt, so that a build tells at its start who cannot.

    Attributes:
        write: what it does.
        samples: how many answers.
        where: the key that says so.
    """

    write: Step
    samples: int
    where: str

    def __call__(self, rows: Sequence[Example], author: Author) -> Iterator[Made]:
        """Do the step."""
        return self.write(rows, author)

    def check(self, settings: Choice) -> None:
        """Refuse an author that writes so. Raises RecipeError."""
        drawn(settings, self.samples, self.where)


def drawn(settings: Choice, samples: int, where: str) -> Choice:
    """Return how an author writes several answers to each prompt. Raises RecipeError if it draws none."""
    if settings.kind == "sample":
        return _chosen("sample", {**settings.params, "samples": samples})
    if samples > 1:
        raise RecipeError(
            f"{samples} answers to a prompt differ only where they are drawn.",
            where=where,
            hint='Write kind = "sample" for the model\'s settings.',
        )
    return settings


def _chosen(kind: str, params: Mapping[str, Any]) -> Choice:
    return Choice.model_validate({"kind": kind, **params})


steps: Registry[Step] = Registry(
    "step of generation",
    "espalier.generate.instructing",
    "espalier.generate.evolving",
    "espalier.generate.answering",
    "espalier.generate.conversing",
)


def ask(author: Author, prompts: Sequence[str | Sequence[Message]]) -> list[list[Answer]]:
    """Return the answers to each prompt, all samples in their order. Raises as `Generator.generate`."""
    rows = [_question(prompt) for prompt in prompts]
    found: dict[str, dict[int, Answer]] = {row.id: {} for row in rows}
    distinct = list({row.id: row for row in rows}.values())
    for one in author.generator.generate(distinct, author.settings) if distinct else ():
        found[one.example][one.sample] = Answer(unthought(one.text), one.request, one.finish)
    return [[said for _, said in sorted(found[row.id].items())] for row in rows]


def ask_one(author: Author, prompts: Sequence[str | Sequence[Message]]) -> list[Answer]:
    """Return the first answer to each prompt; of a prompt without one, an error."""
    none = Answer("", "", "error")
    return [(answers or [none])[0] for answers in ask(author.drawing(1, ""), prompts)]


def decide(author: Author, prompts: Sequence[str]) -> list[Answer]:
    """Return short answers to prompts that ask for a word or a number.

    One who thinks first, and so comes to no word within a few tokens, is asked again with all its tokens.
    """
    said = ask_one(author.deciding(SHORT), prompts)
    again = [place for place, one in enumerate(said) if one.finish == "length" and not one.text]
    limit = author.settings.params.get("limit", SHORT)
    if again and limit > SHORT:
        longer = ask_one(author.deciding(limit), [prompts[place] for place in again])
        for place, one in zip(again, longer, strict=True):
            said[place] = one
    return said


def unanswered(
    messages: Sequence[Message],
    task: str,
    *,
    source: str = "",
    input: str = "",
    origin: Mapping[str, Any] | None = None,
) -> Example:
    """Return a prompt without an answer as a row: its one reference is "".

    Args:
        messages: the prompt.
        task: name of the task.
        source: what rows share; by default what is asked.
        input: what the task's checks look at; by default what is asked.
        origin: where it is from.
    """
    asked = input or messages[-1].text
    return Example(
        example_id(task, [(turn.role, turn.text) for turn in messages], asked),
        task,
        source or normalised(asked),
        tuple(messages),
        ("",),
        origin=origin or {},
        input=asked,
    )


def answered(
    prompt: Sequence[Message], answer: str, like: Example, origin: Mapping[str, Any], *, own: bool = False
) -> Example:
    """Return a new row: a prompt and its trained answer.

    Args:
        prompt: the messages before it.
        answer: the text.
        like: the row that it was made from, whose task it has.
        origin: see `origin_of`.
        own: whether it asks what `like` asks, and so has its input and source.
    """
    asked = like.input if own else prompt[-1].text
    return Example(
        example_id(like.task, [(turn.role, turn.text) for turn in prompt], answer),
        like.task,
        like.source if own else normalised(asked),
        (*prompt, message("assistant", answer, trained=True)),
        (answer,),
        origin=origin,
        input=asked,
    )


def origin_of(prompt: str, author: Author, requests: Sequence[str], parents: Sequence[str]) -> dict[str, Any]:
    """Return how a row was made: prompt, model, the request of its answer and those before, and parents."""
    origin = {"prompt": prompt, "model": author.model, "request": requests[-1], "parents": list(parents)}
    return {**origin, "requests": list(requests)} if len(requests) > 1 else origin


def asked_in(row: Example) -> str:
    """Return what a row asks: the text of its prompt's last message."""
    return row.prompt[-1].text if row.prompt else ""


def beyond_text(instruction: str) -> str:
    """Return why an instruction cannot be answered in text; '' where it can."""
    probe = Example("", "", "", (message("user", instruction),), ("",))
    (judged,) = filters.build("beyond_text", {})([probe])
    return "" if judged.ok else "It asks for more than text."


def batches(rows: Iterable[Example], size: int = BATCH) -> Iterator[Sequence[Example]]:
    """Yield the rows in parts that are asked at once."""
    left = iter(rows)
    while part := list(islice(left, size)):
        yield part


def _question(prompt: str | Sequence[Message]) -> Example:
    turns = (message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
    # A row's prompt ends before its last trained turn, and here all turns are the prompt.
    turns = tuple(replace(turn, trained=False) for turn in turns)
    asked = [(turn.role, turn.text) for turn in turns]
    return Example(example_id(asked), "generate", "", turns, ("",))
