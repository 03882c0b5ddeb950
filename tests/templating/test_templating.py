"""Templates over rows: every wording that ships, which one a row gets, and what a row may lack."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError
from espalier.formats.readers import Raw
from espalier.scorers.grids import grid
from espalier.templating.fill import drawn, fill, fill_file
from espalier.templating.language import bulleted, listed, place
from espalier.templating.template import Template, load_template, shipped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from espalier.core.records import Example

PLAIN = """
[task]
name = "capitals"
licence = "CC0-1.0"
source = "country"
[[wording]]
prompt = "What is the capital of {{ country }}?"
answer = "{{ capital }}"
[[wording]]
name = "back"
flipped = true
prompt = "Which country has {{ capital }} as its capital?"
answer = "{{ country }}"
"""


def made(template: Template, *rows: dict[str, Any], **settings: Any) -> list[Example]:
    raws = [Raw(f"rows.jsonl:{number}", number, row) for number, row in enumerate(rows, start=1)]
    return list(fill(template, raws, "rows.jsonl", **settings))


def written(folder: Path, text: str, name: str = "own.toml") -> Template:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return load_template(file)


def prompts(examples: Sequence[Example]) -> list[str]:
    return [example.prompt[-1].text for example in examples]


@pytest.mark.parametrize("name", shipped())
def test_every_wording_that_ships_says_its_samples(name: str) -> None:
    template = load_template(name)
    assert 4 <= len(template.wording) <= 8
    assert any(wording.flipped for wording in template.wording)
    assert template.task.name == name
    for row in template.sample:
        examples = made(template, row, count=None)
        assert len(examples) == len(template.wording)
        assert len(set(prompts(examples))) == len(examples)
        assert len({example.source for example in examples}) == 1
        for wording, example in zip(template.wording, examples, strict=True):
            turn, answer = example.messages
            assert answer.trained
            assert not turn.trained
            assert example.references[0] == answer.text
            assert "{" not in turn.text or name == "json"
            assert example.task == (template.task.flipped if wording.flipped else name)
            assert example.origin["wording"] == wording.name
            json.dumps(dict(example.facts))
            # Nothing of the answer is given away: a choice is, among the others.
            given = answer.text in turn.text
            assert not given or "options" in example.facts or name in ("extraction", "question-answering")


def test_the_kinds_of_tasks_that_ship() -> None:
    assert {"question-answering", "multiple-choice", "nli", "summarisation", "extraction"} <= set(shipped())
    assert {"classification", "dialogue", "translation", "arithmetic", "text-to-sql"} <= set(shipped())
    assert {"code", "tables", "json"} <= set(shipped())


def test_a_row_becomes_an_example(tmp_path: Path) -> None:
    (there, back) = made(written(tmp_path, PLAIN), {"country": "Peru", "capital": "Lima"}, count=None)
    assert there.prompt[-1].text == "What is the capital of Peru?"
    assert (there.answer, there.references, there.task) == ("Lima", ("Lima",), "capitals")
    assert (back.answer, back.task, back.source) == ("Peru", "capitals-flipped", there.source)
    assert there.origin == {"file": "rows.jsonl", "row": "1", "template": "capitals", "wording": "1"}


def test_the_same_row_gets_the_same_wording_whatever_stands_beside_it() -> None:
    template = load_template("nli")
    rows = [{**template.sample[0], "premise": f"Boat {number} leaves."} for number in range(300)]
    alone = [made(template, row)[0] for row in rows]
    among = made(template, *reversed(rows))
    assert prompts(alone) == prompts(among)[::-1]
    assert prompts(made(template, *rows, seed=1)) != prompts(alone)
    counts = Counter(example.origin["wording"] for example in alone)
    assert set(counts) == {wording.name for wording in template.wording}
    assert counts["write-premise"] < 300 / 6.5 < max(counts.values())


def test_a_wording_more_moves_no_row_between_the_others() -> None:
    whole = load_template("translation")
    less = whole.model_copy(update={"wording": whole.wording[1:]})
    before = {str(row): drawn(less, str(row), 0)[0].name for row in range(200)}
    after = {str(row): drawn(whole, str(row), 0)[0].name for row in range(200)}
    moved = {after[row] for row in before if before[row] != after[row]}
    assert moved == {whole.wording[0].name}


def test_several_wordings_of_a_row_are_different() -> None:
    template = load_template("question-answering")
    examples = made(template, template.sample[0], count=3)
    assert len({example.origin["wording"] for example in examples}) == 3
    first = made(template, template.sample[0])[0]
    assert examples[0] == first


def test_options_are_what_answers_may_be() -> None:
    template = load_template("multiple-choice")
    for example in made(template, *template.sample, count=None):
        if example.task == "option-writing":
            assert not example.facts
        else:
            assert example.answer in example.facts["options"]
    letters = made(template, template.sample[0], count=None)[0]
    assert (letters.answer, letters.facts["options"]) == ("B", ["A", "B", "C"])


def test_a_wording_may_have_choices_of_its_own() -> None:
    template = load_template("nli")
    answers = {
        example.origin["wording"]: example for example in made(template, template.sample[0], count=None)
    }
    assert answers["labels"].answer == "contradiction"
    assert answers["yes-no-maybe"].answer == "no"
    assert answers["yes-no-maybe"].facts["options"] == ["yes", "maybe", "no"]


def test_all_accepted_answers_are_references() -> None:
    template = load_template("question-answering")
    example = made(template, template.sample[0], count=None)[0]
    assert example.references == ("the old pier", "from the old pier")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"country": "Peru"}, "'capital' is undefined"),
        ({"country": "Peru", "capital": None}, "null"),
        ({"country": "Peru", "capital": " \u200b"}, "empty"),
        ({"country": "Peru", "capital": ["Lima"]}, "list is printed"),
        ({"country": {"of": "Peru"}, "capital": "Lima"}, "dict is printed"),
    ],
)
def test_a_field_that_is_missing_is_told_with_its_place(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    template = written(tmp_path, PLAIN)
    with pytest.raises(DataError) as error:
        made(template, row, count=None)
    assert said in error.value.message
    assert "rows.jsonl:1" in error.value.where
    assert "own.toml" in error.value.where
    assert "wording" in error.value.where
    assert "country" in error.value.hint


def test_rows_that_cannot_be_used_go_to_the_rejects(tmp_path: Path) -> None:
    template = written(tmp_path, PLAIN)
    refused: list[dict[str, Any]] = []
    whole = {"country": "Peru", "capital": "Lima"}
    examples = made(template, {"country": "Chad"}, whole, count=None, on_reject=refused.append)
    assert [example.answer for example in examples] == ["Lima", "Peru"]
    assert [item["row"] for item in refused] == [{"country": "Chad"}] * 2
    assert "undefined" in refused[0]["reason"]


def test_a_test_for_what_may_be_missing_is_no_fault(tmp_path: Path) -> None:
    text = PLAIN.replace("{{ country }}?", "{{ country }}{% if year is defined %} in {{ year }}{% endif %}?")
    template = written(tmp_path, text)
    row = {"country": "Peru", "capital": "Lima"}
    assert prompts(made(template, row, {**row, "year": 1900}, count=None))[::2] == [
        "What is the capital of Peru?",
        "What is the capital of Peru in 1900?",
    ]


@pytest.mark.parametrize("text", ["{{ country.upper }}", "{{ [country] | map('upper') }}", "{{ row.items }}"])
def test_what_only_python_would_print_is_told(tmp_path: Path, text: str) -> None:
    template = written(tmp_path, PLAIN.replace("{{ country }}?", text))
    with pytest.raises(DataError, match="is printed, and no text"):
        made(template, {"country": "Peru", "capital": "Lima"}, count=None)


def test_a_method_is_no_fact(tmp_path: Path) -> None:
    template = written(tmp_path, PLAIN + '[facts]\nnames = "row.keys"\n')
    with pytest.raises(DataError, match="is no value"):
        made(template, {"country": "Peru", "capital": "Lima"}, count=None)


def test_a_choice_that_is_none_is_told() -> None:
    template = load_template("nli")
    with pytest.raises(DataError, match="none of the choices"):
        made(template, {**template.sample[0], "label": -1})


def test_the_same_row_twice_is_two_examples(tmp_path: Path) -> None:
    template = written(tmp_path, PLAIN)
    row = {"country": "Peru", "capital": "Lima"}
    assert len({example.id for example in made(template, row, row, count=None)}) == 4


def test_few_lines_put_a_set_under_wordings_that_ship(tmp_path: Path) -> None:
    template = written(
        tmp_path,
        'like = "question-answering"\n[task]\nname = "squad"\nlicence = "CC-BY-SA-4.0"\n'
        '[columns]\npassage = "context"\nanswers = "answers.text"\n',
    )
    rows = tmp_path / "rows.jsonl"
    row = {"context": "It rains.", "question": "What does it do?", "answers": {"text": ["rains", "it rains"]}}
    rows.write_text("\n".join([json.dumps(row)] * 2))
    first = next(fill_file(template, rows, count=None))
    assert (first.task, first.references, template.task.licence) == (
        "squad",
        ("rains", "it rains"),
        "CC-BY-SA-4.0",
    )
    assert template.task.definition == load_template("question-answering").task.definition


def test_rows_of_tables_are_put_into_words(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    lines = [
        "question,choices,answer",
        '"Which is a bird?","[""wren"", ""carp""]",wren',
        '"And here?","[""ox"", ""owl""]",1',
    ]
    rows.write_text("\n".join(lines))
    found = list(fill_file(load_template("multiple-choice"), rows, count=None))
    texts = [example for example in found if example.origin["wording"] == "texts"]
    assert [example.answer for example in texts] == ["wren", "owl"]


def test_rows_of_parquet_are_put_into_words(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sample = load_template("dialogue").sample[0]
    pq.write_table(pa.Table.from_pylist([sample]), tmp_path / "rows.parquet")
    found = list(fill_file(load_template("dialogue"), tmp_path / "rows.parquet", count=None))
    assert len(found) == len(load_template("dialogue").wording)


def test_a_wording_of_promptsource_stays_as_it_is(tmp_path: Path) -> None:
    text = """
[task]
name = "nli"
choices = ["Yes", "Maybe", "No"]
right = "label"
[[wording]]
prompt = "{{ premise }} So {{ hypothesis }}, {{ choices | join(', ') }}? ||| {{ answer_choices[label] }}"
"""
    row = {"premise": "It rains.", "hypothesis": "it is wet", "label": 1}
    (example,) = made(written(tmp_path, text), row, count=None)
    assert example.prompt[-1].text == "It rains. So it is wet, Yes, Maybe, No?"
    assert (example.answer, example.facts["options"]) == ("Maybe", ["Yes", "Maybe", "No"])
    with pytest.raises(DataError, match="behind"):
        written(tmp_path, f'{text}answer = "No"\n')


def test_a_field_of_the_name_of_a_method_is_the_field(tmp_path: Path) -> None:
    text = PLAIN.replace("{{ country }}?", "{{ row.country }}, {{ at.values }}, {{ at.items[0] }}?")
    row = {"country": "Peru", "capital": "Lima", "at": {"values": "v", "items": ["i"]}}
    assert "Peru, v, i?" in made(written(tmp_path, text), row, count=None)[0].prompt[-1].text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ contry }}", "Did you mean 'country'"),
        ("{{ row.capitol }}", "Did you mean 'capital'"),
    ],
)
def test_a_wrong_field_is_told_with_the_nearest(tmp_path: Path, text: str, said: str) -> None:
    template = written(tmp_path, PLAIN.replace("{{ country }}", text, 1))
    with pytest.raises(DataError) as error:
        made(template, {"country": "Peru", "capital": "Lima"}, count=None)
    assert said in error.value.hint


def test_a_wrong_filter_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        written(tmp_path, PLAIN.replace("{{ country }}", "{{ country | letterd }}", 1))
    assert "Did you mean 'lettered'" in error.value.hint


HOSTILE = [
    "{{ ''.__class__.__mro__ }}",
    "{{ country.__class__.__base__.__subclasses__() }}",
    "{{ 'a' * 1000000000 }}",
    "{{ 2 ** 100000000 }}",
    "{{ range(100000000) | join }}",
    "{% include '/etc/passwd' %}",
    "{{ cycler.__init__.__globals__.os.environ }}",
    "{% set _ = row.update({'a': 1}) %}x",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_template_cannot_reach_beyond_its_row(tmp_path: Path, text: str) -> None:
    template = written(tmp_path, PLAIN.replace("What is the capital of {{ country }}?", text))
    with pytest.raises(DataError, match="cannot be put into"):
        made(template, {"country": "Peru", "capital": "Lima"}, count=None)


def test_what_a_row_says_is_no_template(tmp_path: Path) -> None:
    row = {"country": "{{ 7 * 7 }}{% raw %}", "capital": "Lima"}
    example = made(written(tmp_path, PLAIN), row, count=None)[0]
    assert example.prompt[-1].text == "What is the capital of {{ 7 * 7 }}{% raw %}?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = 'x'", "no key 'name'"),
        (PLAIN.replace("licence", "license"), "no key 'license' here"),
        (PLAIN.replace("prompt", "promt", 1), "no key 'promt' here"),
        (PLAIN.replace("answer", "name", 1), "no answer"),
        (PLAIN.replace("flipped = true", "weight = 0"), "'weight' is 0"),
        (PLAIN.replace("{{ country }}?", "{{ country }?"), "no template"),
        (PLAIN.replace('source = "country"', 'source = "country of"'), "no expression"),
        (PLAIN.replace('name = "back"', 'name = "1"'), "Two wordings"),
        (PLAIN + "[", "not TOML"),
        ('like = "own.toml"', "like itself"),
        ('like = "nlu"', "no such template"),
        ("[task]\nname = 'x'\n", "'wording' is required"),
    ],
)
def test_a_file_that_is_no_template_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        written(tmp_path, text)
    assert str(tmp_path) in error.value.where


@pytest.mark.parametrize(
    ("value", "choices", "expected"),
    [
        (0, ["a", "b"], 0),
        ("1", ["a", "b"], 1),
        ("B", ["wren", "carp"], 1),
        ("b", ["b", "a"], 0),
        ("a", ["b", "a"], 1),
        (1, ["2", "1", "0"], 1),
        ("1", ["2", "1", "0"], 1),
        ("CARP", ["wren", "carp"], 1),
    ],
)
def test_which_choice_is_meant(value: object, choices: list[str], expected: int) -> None:
    assert place(value, choices) == expected


@pytest.mark.parametrize("value", [-1, 2, "C", True, None, ""])
def test_what_is_no_choice(value: object) -> None:
    with pytest.raises(ValueError, match="none of the choices"):
        place(value, ["wren", "carp"])


def test_lists_and_tables_in_words() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"], "and") == "a, b and c"
    assert bulleted(["a", 1]) == "- a\n- 1"
    assert grid([{"a": 1}, {"b": "x"}]) == [["a", "b"], ["1", ""], ["", "x"]]
    with pytest.raises(ValueError, match="different lengths"):
        grid([[1, 2], [3]])
