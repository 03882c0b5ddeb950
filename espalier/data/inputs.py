"""What a file asks, with answers or without: a text a line, or rows in any format that can be trained on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError
from espalier.core.files import read_text
from espalier.core.records import Example, Message, Text, message
from espalier.data.asking import under
from espalier.formats.conversations import MESSAGES, SHAREGPT
from espalier.formats.format import Row
from espalier.formats.instructions import PAIRS, prompted
from espalier.formats.load import FILES, FORMATS, spelt
from espalier.formats.placing import COLUMNS, Given, filed, has_media, media_of, without_empty
from espalier.formats.questions import CHOICES
from espalier.formats.readers import rows_of
from espalier.formats.turns import framed
from espalier.formats.turns import text as checked
from espalier.tasks import templates
from espalier.tasks.raw_rows import mapping
from espalier.tasks.task_files import is_task, load_task

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from espalier.core.records import Task
    from espalier.data.asking import Asking
    from espalier.formats.format import Format
    from espalier.media.finding import Finder

LINES = (".txt", ".md", "")
TALKS = (*MESSAGES, *SHAREGPT)
# Keys of a text to be asked as the run's rows are; a "prompt" is whole.
TEXTS = tuple(dict.fromkeys(ask for ask, _ in PAIRS if ask != "prompt"))
STAND_IN = "…"  # for an answer that a row does not have, so that its format can read what it asks


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to answer.

    Attributes:
        index: which line of a text file it is, blank ones counted, or which row, from 0.
        id: the row's own, or that of the example it is where it can be trained on, or its index.
        where: its place, for errors.
        text: a text to be asked as the run's rows are, where it is no whole prompt.
        prompt: a whole prompt, where it is no text.
        frame: of a text the row's own system turn, with its tools.
        task: whose row it is, where it is a task's.
        given: the pictures and sounds that a text is about.
    """

    index: int
    id: str
    where: str
    text: str = ""
    prompt: tuple[Message, ...] = ()
    frame: tuple[Message, ...] = ()
    task: Task | None = None
    given: Given | None = None


def media_given(images: object, audios: object, where: str) -> Given:
    """Return the pictures and sounds that a person gives with a text: one or a list, files or as rows may.

    Raises:
        DataError: one cannot be found, or is of the other kind.
    """
    columns = {"images": _whole_paths(images), "audios": _whole_paths(audios)}
    return media_of(without_empty(columns), FILES.finder(Path.cwd() / where), where)


def turn_of_parts(turn: Mapping[str, Any], where: str) -> Message:
    """Return a turn whose content is a list of parts, as rows may have it.

    Raises:
        DataError: a part is none, or its medium cannot be found.
    """
    given = media_of({"turn": _with_whole_paths(turn)}, FILES.finder(Path.cwd() / where), where)
    content = given.value["turn"]["content"]
    words = [Text(checked(part.get("text"), f"{where}[{place}].text")) for place, part in enumerate(content)]
    return given.messages([Message(turn["role"], tuple(words))], first=True)[0]


def about(questions: Sequence[Question], given: Given) -> list[Question]:
    """Return texts as texts about media, the same for all.

    Raises:
        DataError: one is a row that is a whole prompt, or has media of its own.
    """
    whole = next((question for question in questions if question.prompt or question.given), None)
    if given and whole is not None:
        raise DataError(
            "A picture or a sound is given with a row that is asked as it is.",
            where=whole.where,
            hint="Name it in the row, or give texts.",
        )
    return [replace(question, given=given) for question in questions] if given else list(questions)


def _with_whole_paths(turn: Mapping[str, Any]) -> dict[str, Any]:
    parts = [
        {key: item if key in ("type", "text") else _absolute(item) for key, item in part.items()}
        for part in cast("list[Mapping[str, Any]]", turn["content"])
    ]
    return {**turn, "content": parts}


def _whole_paths(given: object) -> list[object]:
    several = isinstance(given, list | tuple)
    return [_absolute(one) for one in (cast("Sequence[object]", given) if several else [given])]


def _absolute(value: object) -> object:
    """Return the whole path of a file; a person may name one outside the folder, which no row may."""
    if not isinstance(value, str | Path):
        return value
    path = os.path.expanduser(value)
    return os.path.abspath(path) if os.path.exists(path) else path


def read_questions(file: Path, columns: Mapping[str, str] = MappingProxyType({})) -> list[Question]:
    """Return what a file asks: each line of a text file that is not blank, or each row of any other.

    Rows are task rows, rows of any format that can be trained on, and such rows without their answers.
    `columns` are the recipe's `task.columns`; those that the file does not have are left alone.

    Raises:
        DataError: the file cannot be read, or a row asks nothing; the place is named.
    """
    if file.suffix in LINES and not file.is_dir():
        lines = [line.strip() for line in read_text(file).split("\n")]
        return [Question(n, str(n), f"{file}:{n + 1}", line) for n, line in enumerate(lines) if line]
    if is_task(file):
        task = load_task(file)
        rows = enumerate(task.rows)
        return [Question(n, row.id, f"{file}, row {n + 1}", row.input, task=task) for n, row in rows]
    found: list[Question] = []
    finder = FILES.finder(file)
    for index, raw in enumerate(filed(spelt(rows_of(file), columns.values()), file)):
        if raw.error:
            raise raw.error
        value = mapping(raw.value, raw.where, "a row")
        row = Row(str(file), file.stem, raw.number, raw.where, without_empty(_taken(value, columns)))
        found += _asked(row, index, finder)
    return found


def _asked(row: Row, index: int, finder: Finder) -> Iterator[Question]:
    own: object = row.value.get("id")
    named = str(own) if isinstance(own, str | int) else ""
    given = media_of(row.value, finder, row.where)
    value = _answered(given.value, row.where)
    shown = {key: item for key, item in row.value.items() if key in COLUMNS}
    text, format = _text_key({**value, **shown})
    if text or (given and format is None):
        words = checked(value[text], f"{row.where}, {text}") if text else ""
        frame = tuple(framed(value, [message("user", words)], row.where)[:-1])
        yield Question(index, named or str(index), row.where, words, frame=frame, given=given or None)
        return
    if format is None:
        raise DataError(
            f"The row asks nothing: it has {', '.join(row.value) or 'no key'}.",
            where=row.where,
            hint=f"Write it with one of these keys: {', '.join((*TEXTS, *TALKS, 'prompt', 'instruction'))}.",
        )
    trained = value == given.value
    for made in format.read(Row(row.file, row.task, row.number, row.where, value)):
        example = given.example(made, first=format.asks_once)
        yield Question(
            index, named or (example.id if trained else str(index)), row.where, prompt=example.prompt
        )


def _text_key(value: Mapping[str, Any]) -> tuple[str, Format | None]:
    """Return the key of a row that is a text and no whole prompt, or ''; and the format of the row."""
    known = ((name, factory()) for name, factory in FORMATS.items())
    kind, format = next(((n, f) for n, f in known if f.fits(set(value))), ("", None))
    text = next((key for key in TEXTS if key in value), "")
    alone = format is None or (kind == "prompt-completion" and "prompt" not in value)
    return (text if alone else ""), format


def texts_in(files: Iterable[Path], columns: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return the files' rows, as (file, row), that are texts to be asked in a run's words, with answers.

    Raises:
        DataError: a file cannot be read.
    """
    found: set[tuple[str, str]] = set()
    for file in files:
        for raw in spelt(rows_of(file), columns.values()):
            given = raw.value
            if not isinstance(given, Mapping):
                continue
            value = _taken(cast("Mapping[str, Any]", given), columns)
            if not has_media(value) and isinstance(value.get(_text_key(value)[0]), str):
                found.add((str(file), str(raw.number)))
    return found


def _taken(value: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Return a row under the names that a format knows, without what is empty."""
    taken = {name: value[column] for name, column in columns.items() if column in value}
    return {key: item for key, item in {**value, **taken}.items() if item is not None and item != ""}


def _answered(value: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return a row with what stands in for the answer that it does not have."""
    if {"chosen", "rejected"} <= value.keys():
        return value
    talk = next((key for key in TALKS if isinstance(value.get(key), list) and value[key]), "")
    if talk:
        said = cast("list[dict[str, Any]]", value[talk])
        if prompted(value, talk, where)[-1].role == "assistant" or "completion" in value:
            return value
        turn = {"from": "gpt", "value": STAND_IN} if "from" in said[0] else None
        return {**value, talk: [*said, turn or {"role": "assistant", "content": STAND_IN}]}
    if "question" in value and any(key in value for key in CHOICES):
        return {"answer": 0, **value}
    if {"question", "context"} <= value.keys():
        return {"answers": [STAND_IN], **value}
    if "instruction" in value and not {"response", "instances"} & value.keys():
        return {"output": STAND_IN, **value}
    if "prompt" in value and "response" not in value:
        return {"completion": STAND_IN, **value}
    return value


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its whole prompt; `text` is its last turn without what the run puts around it."""

    question: Question
    text: str
    prompt: tuple[Message, ...]

    def example(self, number: int = 0) -> Example:
        """Return the prompt as an example to be answered, with a number as its id."""
        turns = (*self.prompt, message("assistant", "", trained=True))
        return Example(str(number), "", self.text, turns, input=self.text)


def asked(questions: list[Question], asking: Asking, system: str | None) -> list[Asked]:
    """Return the questions as prompts, under `system` where that is given, else under a row's own.

    A run on several tasks is asked a task's row under that task's own words.
    """
    asking = asking if system is None else asking.under(system)
    found: list[Asked] = []
    for question in questions:
        if question.prompt:
            prompt = asking.around(question.prompt)
            prompt = prompt if system is None else under(prompt, system)
        elif asking.show and question.task:
            words = templates.asked(question.task, asking.show, question.text)
            prompt = asking.around([message("user", words)])
        else:
            own = asking.within(question.frame)
            own = own if system is None else own.under(system)
            prompt = with_media(own.prompt(question.text), question.given)
        found.append(Asked(question, question.text or prompt[-1].text, prompt))
    return found


def with_media(prompt: tuple[Message, ...], given: Given | None) -> tuple[Message, ...]:
    """Return a prompt whose last turn has the media where its text names them, or before it."""
    if not given:
        return prompt
    words = tuple(part for part in prompt[-1].parts if part != Text(""))
    return (*prompt[:-1], *given.messages([replace(prompt[-1], parts=words)], first=True))
