"""The sources of a build: rows as they are, rows put into a template's words, and prompts to be answered."""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.builds.code_hash import code_hash
from espalier.builds.keys import named_files
from espalier.core.errors import DataError, EspalierError, RecipeError
from espalier.core.files import file_sha256
from espalier.core.records import message
from espalier.core.text import counted
from espalier.data.inputs import read_questions
from espalier.data.mixture import place_of
from espalier.data.pairs import Pairs, is_pairs
from espalier.formats.folders import files_of, name_of
from espalier.formats.load import iter_rows
from espalier.formats.readers import rows_of
from espalier.generate.author import unanswered
from espalier.runs.events import say
from espalier.tasks.task_files import is_task, load_task, task_path
from espalier.tasks.templates import Show, asked, available, to_examples
from espalier.templating.annotations import Layout, aggregated, read_annotations
from espalier.templating.fill import fill
from espalier.templating.template import load_template

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from espalier.builds.recipe import SourceSection, VotesSection
    from espalier.core.records import Example, Task
    from espalier.formats.readers import Raw
    from espalier.tasks.raw_rows import OnReject, Reject
    from espalier.templating.template import Template

READERS = (iter_rows, fill, load_task, read_questions, read_annotations, to_examples)  # what rows depend on


@dataclass
class SourceCounts:
    """What was found while a source was read: see `Source` of the funnel."""

    rows: int = 0
    rejected: int = 0
    licence: str = ""
    note: str = ""


@dataclass(frozen=True)
class Place:
    """A source with its files, which are there.

    Attributes:
        section: as the recipe has it.
        files: in their order.
        seed: of the build; draws wordings.
    """

    section: SourceSection
    files: tuple[Path, ...]
    seed: int

    @property
    def name(self) -> str:
        """What the recipe's other sections call it."""
        return self.section.name or name_of(place_of(self.section.path))

    @cached_property
    def template(self) -> Template | None:
        """What puts its rows into words. Raises DataError."""
        return load_template(self.section.template) if self.section.template else None

    @property
    def key(self) -> list[Any]:
        """What determines its rows: how they are read, by which code, and what the files hold."""
        how = self.section.model_dump(mode="json", exclude={"path", "licence", "name", "template"})
        files: list[object] = [[file.name, file_sha256(file)] for file in self.files]
        words = self.template.model_dump(mode="json", exclude={"origin"}) if self.template else None
        task = named_files([self.section.task]) if self.section.use == "prompts" else []
        return [
            how,
            name_of(place_of(self.section.path)),
            self.name
            if self.section.use == "prompts"
            else "",  # what their task is called where nothing says
            files,
            words,
            self.seed if words else 0,
            task,
            [code_hash(part) for part in READERS],
        ]

    def read(
        self,
        found: SourceCounts | None = None,
        on_reject: OnReject = lambda _: None,
        on_note: Callable[[str], object] = lambda _: None,
    ) -> Iterator[Example]:
        """Yield its rows, and write down what was found on the way.

        Args:
            found: rows and rejects are added to it.
            on_reject: takes each row that cannot be used, unless the recipe wants that to be an error.
            on_note: takes a sentence on what a file says and nothing looks at.

        Raises:
            DataError, RecipeError: a row, or the file, cannot be used.
        """

        counts = found or SourceCounts()

        def reject(row: Reject) -> None:
            counts.rejected += 1
            on_reject(row)

        for example in self._read(counts, reject if self.section.on_bad == "reject" else None, on_note):
            counts.rows += 1
            yield example

    def _read(
        self, found: SourceCounts, on_reject: OnReject | None, on_note: Callable[[str], object]
    ) -> Iterator[Example]:
        section = self.section
        if section.use == "prompts":
            yield from self._prompts()
            return
        if self.template is not None:
            found.licence = "" if self.template.task.licence == "Unknown" else self.template.task.licence
        for file in self.files:
            if self.template is not None:
                rows = rows_of(file) if section.votes is None else self._voted(file, section.votes, found)
                many = section.wordings or None
                yield from fill(
                    self.template, rows, str(file), seed=self.seed, count=many, on_reject=on_reject
                )
            elif is_pairs(file):
                yield from Pairs(file)
            elif section.format == "auto" and is_task(file):
                task = load_task(file, on_reject)
                found.licence = "" if task.licence == "Unknown" else task.licence
                named = replace(task, name=section.task or task.name)
                yield from to_examples(named, available(named, Show()))
            else:
                yield from self._rows(file, on_reject, on_note)

    def _rows(
        self, file: Path, on_reject: OnReject | None, on_note: Callable[[str], object]
    ) -> Iterator[Example]:
        section = self.section
        name = section.task or name_of(place_of(section.path))
        try:
            yield from iter_rows(
                file, section.format, on_reject, on_note, section.columns, name=name, own=not section.task
            )
        except EspalierError as error:
            raise _of_build(error) from None

    def _voted(self, file: Path, votes: VotesSection, found: SourceCounts) -> Iterable[Raw]:
        """Return a file's rows with what their annotators' labels come to; how far these agree is noted."""
        layout = Layout(votes.row, votes.label, votes.annotator, votes.annotators)
        rows, agreement = aggregated(
            read_annotations(rows_of(file), layout),
            votes.how,
            level=votes.level,
            order=votes.order,
            seed=self.seed,
        )
        alpha = agreement.alpha
        between = f" ({alpha.low:.2f} to {alpha.high:.2f})" if math.isfinite(alpha.low + alpha.high) else ""
        found.note = (
            f"{counted(agreement.votes, 'label')} of {counted(agreement.rows, 'row')}; the annotators agree "
            f"with alpha {alpha.value:.2f}{between}; {counted(agreement.ties, 'tie')}."
        )
        return rows

    def _prompts(self) -> Iterator[Example]:
        """Yield what the files ask, without answers: a text that is no whole prompt in its task's words."""
        section = self.section
        task = _task(section.task)
        for file in self.files:
            for question in read_questions(file, section.columns):
                own = question.task or task
                if question.prompt:
                    turns = question.prompt
                elif own is not None:
                    words = asked(own, available(own, Show()), question.text)
                    turns = (*question.frame, message("user", words))
                else:
                    turns = (*question.frame, message("user", question.text))
                name = section.task if task is None else task.name
                name = name or (own.name if own else self.name)
                origin = {"file": str(file), "row": question.id}
                yield unanswered(turns, name, input=question.text, origin=origin)


def places(sections: Sequence[SourceSection], seed: int) -> list[Place]:
    """Return the sources of a recipe, whose files and templates are there.

    Raises:
        DataError: a file or a template is not there, or is none.
    """
    return [_place(section, number, seed) for number, section in enumerate(sections)]


def _place(section: SourceSection, number: int, seed: int) -> Place:
    where = f"source.{number}"
    with at_key(f"{where}.path"):
        files = files_of(place_of(section.path))
        for file in files.paths:
            if not file.is_file():
                raise DataError("There is no such file.", where=str(file))
    if files.note:
        note(files.note)
    place = Place(section, tuple(files.paths), seed)
    with at_key(f"{where}.template"):
        if place.template is None and section.votes is not None:
            raise DataError(
                "Labels of several people need a template that puts the rows into words.",
                hint='Name one: template = "classification".',
            )
    with at_key(f"{where}.task"):
        if section.use == "prompts":
            _task(section.task)
    return place


@contextmanager
def at_key(key: str) -> Generator[None]:
    """Say of an error by which key of the recipe it is. Raises what it gets."""
    try:
        yield
    except EspalierError as error:
        if not (error.where and isinstance(error, RecipeError)):  # its place is a key already
            error.where = f"{error.where} ({key})" if error.where else key
        raise


def _task(name: str) -> Task | None:
    """Return the task of that name or file; None where it is only a name. Raises DataError."""
    try:
        task_path(name or " ")
    except DataError:
        if os.path.isabs(name):
            raise
        return None
    return load_task(name, lambda _: None)


def note(text: str) -> None:
    """Say what is to be known of a source."""
    say(f"Note: {text}")


def _of_build(error: EspalierError) -> EspalierError:
    """Return an error of the readers with the keys that a build calls by another name."""
    for attribute in ("message", "where", "hint"):
        text = str(vars(error)[attribute])
        for key in ("format", "columns", "on_bad"):
            text = text.replace(f"task.{key}", f"source.{key}")
        vars(error)[attribute] = text
    return error
