"""A template file: what a set's rows ask, in several wordings. Those that ship are found by their names.

    like = "question-answering"            # optional: take what this file does not say from that template
    [task]
    name = "capitals"
    definition = "…"                       # a wording may print it: {{ definition }}
    source = "country"                     # what rows share, so that no split parts them
    licence = "CC0-1.0"
    choices = "options"                    # a list, or an expression: the texts to choose from
    right = "label"                        # which of them is right: its place, its letter or its text
    references = "answers"                 # all accepted answers, where there are more than the wording's
    [columns]                              # what the wordings call a field = what the rows call it
    passage = "context"
    [facts]                                # what scorers need of a row: schema, tests, …
    schema = "ddl"
    [[wording]]
    prompt = "What is the capital of {{ country }}?"
    answer = "{{ capital }}"
    [[wording]]
    flipped = true                         # the input from the output
    prompt = "Which country has {{ capital }} as its capital?"
    answer = "{{ country }}"
    [[sample]]                             # a row to try every wording on
    country = "Peru"
    capital = "Lima"

`source`, `right`, `references`, `input`, columns and facts are expressions over a row: `answers.text`.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from espalier.core.errors import DataError, nearest
from espalier.core.files import parse_toml, read_text
from espalier.templating.language import compiled, expression

SHIPPED = Path(str(files("espalier.templating") / "bundled"))
KEPT = ("task", "columns", "facts")  # tables that `like` fills up key by key


class Wording(BaseModel):
    """One way to ask, and how it is answered then.

    Attributes:
        name: by default its number.
        prompt: what the user says, a Jinja template over the row's fields; perhaps with ||| and the answer.
        answer: what the assistant says; by default the right option.
        flipped: it asks for the row's input, given its output: another task, without the task's facts.
        weight: how often it is taken beside the others.
        choices: this wording's own, instead of the task's.
        option: how a choice reads as an answer, with `choice`, `letter` and `place` (from 0).
        references: this wording's accepted answers, an expression.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = ""
    prompt: str
    answer: str = "{{ options[right] }}"
    flipped: bool = False
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    choices: tuple[str, ...] | str = ()
    option: str = "{{ choice }}"
    references: str = ""


class TemplateTask(BaseModel):
    """What all wordings have in common; see the top of the file. `flipped` names the flipped task."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(min_length=1)
    definition: str = ""
    source: str = ""
    licence: str = "Unknown"
    choices: tuple[str, ...] | str = ()
    right: str = ""
    references: str = ""
    input: str = ""
    flipped: str = ""


class Template(BaseModel):
    """A template file as it stands; `origin` is where it was found."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    task: TemplateTask
    columns: dict[str, str] = {}
    facts: dict[str, str] = {}
    wording: tuple[Wording, ...] = Field(min_length=1)
    sample: tuple[dict[str, Any], ...] = ()
    origin: str = ""


def shipped() -> list[str]:
    """Return the names of the templates that ship."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load_template(path: str | Path) -> Template:
    """Return a shipped template by its name, or that of a TOML file. A file goes before a name.

    Raises:
        DataError: there is none; not TOML; an unknown, missing or ill-typed key; two wordings of one name; a
            text that is no Jinja.
    """
    file = _found(path, Path())
    table = _table(file, ())
    known = set(Template.model_fields) - {"origin"}
    try:
        if unknown := next((key for key in table if key not in known), ""):
            raise DataError(
                f"A template file has no key '{unknown}'.", where=str(file), hint=nearest(unknown, known)
            )
        template = Template.model_validate({**table, "origin": str(file)})
    except ValidationError as error:
        raise _as_data_error(error, str(file)) from None
    named = [_named(wording, number, file) for number, wording in enumerate(template.wording, start=1)]
    names = [wording.name for wording in named]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise DataError(f"Two wordings are called '{twice}'.", where=str(file))
    template = template.model_copy(update={"wording": tuple(named)})
    _try(template)
    return template


def _named(wording: Wording, number: int, file: Path) -> Wording:
    """Return a wording with its name, and with the answer that stands behind ||| as in promptsource."""
    prompt, bar, answer = wording.prompt.partition("|||")
    name = wording.name or str(number)
    if not bar:
        return wording.model_copy(update={"name": name})
    if "answer" in wording.model_fields_set:
        raise DataError(
            "The wording has an answer behind ||| and another.", where=f"{file}, wording '{name}'"
        )
    return wording.model_copy(update={"name": name, "prompt": prompt, "answer": answer})


def _found(path: str | Path, beside: Path) -> Path:
    file = beside / path
    if file.is_file():
        return file
    if str(path) in shipped():
        return SHIPPED / f"{path}.toml"
    raise DataError("There is no such template.", where=str(file), hint=nearest(str(path), shipped()))


def _table(file: Path, before: tuple[Path, ...]) -> dict[str, Any]:
    """Return a file's keys, with those of the file that it is like under them."""
    if file in before:
        raise DataError("The template is like itself.", where=str(file))
    try:
        table = parse_toml(read_text(file))
    except ValueError as error:
        raise DataError(f"The file is not TOML: {error}.", where=str(file)) from None
    like = table.pop("like", None)
    if like is None:
        return table
    under = _table(_found(str(like), file.parent), (*before, file))
    own = {key: table[key] for key in KEPT if isinstance(table.get(key), dict)}
    joined = {key: {**under.get(key, {}), **cast("dict[str, Any]", value)} for key, value in own.items()}
    return {**under, **table, **joined}


def _try(template: Template) -> None:
    """Compile every text, so that a mistake is told before the first row."""
    where = template.origin
    for key in ("source", "right", "references", "input"):
        if text := str(getattr(template.task, key)):
            expression(text, f"{where}, task.{key}")
    for table in ("columns", "facts"):
        for key, text in cast("dict[str, str]", getattr(template, table)).items():
            expression(text, f"{where}, {table}.{key}")
    if isinstance(template.task.choices, str):
        expression(template.task.choices, f"{where}, task.choices")
    for wording in template.wording:
        place = f"{where}, wording '{wording.name}'"
        for text in (wording.prompt, wording.answer, wording.option):
            compiled(text, place)
        for text in (wording.references, wording.choices):
            if isinstance(text, str) and text:
                expression(text, place)
        if "answer" not in wording.model_fields_set and not (wording.choices or template.task.choices):
            raise DataError("The wording has no answer, and no choices to answer with.", where=place)


def _as_data_error(error: ValidationError, where: str) -> DataError:
    """Return the first problem as one sentence: the key with its place, and the nearest known key."""
    # A misspelt key is unknown and missing at once; the unknown one tells more.
    first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    *parents, key = [str(step) for step in first["loc"]]
    place = ", ".join([where, " ".join(parents)] if parents else [where])
    if first["type"] == "extra_forbidden":
        known = Wording.model_fields if parents[:1] == ["wording"] else TemplateTask.model_fields
        return DataError(f"A template has no key '{key}' here.", where=place, hint=nearest(key, known))
    if first["type"] == "missing":
        return DataError(f"The key '{key}' is required and missing.", where=place)
    message = first["msg"][0].lower() + first["msg"][1:]
    return DataError(f"'{key}' is {first['input']!r}, which does not fit: {message}.", where=place)
