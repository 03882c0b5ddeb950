"""The long tail: what an instruction is about, how uneven kinds are, and what would fill the thin ones."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.building.longtail import facets, form_of, gini, length_of, long_tail
from espalier.building.topics import topics
from espalier.building.wording import pair_of, verb_and_noun
from espalier.core.errors import DataError
from espalier.core.records import Example, message


def row(number: int, prompt: str, answer: str = "x", task: str = "t") -> Example:
    turns = (message("user", prompt), message("assistant", answer, trained=True))
    return Example(str(number), task, prompt, turns)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("Write a short poem about the sea.", ("write", "poem")),
        ("Please summarize the following meeting notes.", ("summarize", "notes")),
        ("Could you please draft an email to my landlord?", ("draft", "email")),
        ("Given a sentence, rewrite it as a question.", ("rewrite", "question")),
        ("In this task you get a sentence. Your task is to find the verb of it.", ("find", "verb")),
        ("Come up with three names for a wren.", ("come", "names")),
        ("How long did the meeting last?", ("how long", "meeting")),
        ("What is the capital of Peru?", ("what", "capital")),
        ("The list below is too long. Sort the names by length.", ("sort", "names")),
        ("Объясни закон Ома простыми словами.", ("объясни", "закон")),
        ("Erkläre den Unterschied zwischen Wetter und Klima.", ("erkläre", "unterschied")),
        ("写一首关于冬天的诗。", ("写", "诗")),
        ("请翻译下面的句子成英文：今天很冷。", ("翻译", "英文")),
        ("光合成を説明してください。", ("説明", "光合成")),
        ("春についての詩を書いてください。", ("書", "詩")),
        ("Пожалуйста, напиши стихи о весне", ("напиши", "стихи")),
        ("لخص النص التالي من فضلك", ("لخص", "النص")),
        ("ما هي عاصمة فرنسا؟", ("عاصمة", "فرنسا")),
        ("다음 문장을 요약하세요", ("요약하세요", "문장을")),
        ("Escreva um poema sobre a primavera", ("escreva", "poema")),
        ("हिंदी में एक कविता लिखो।", ("लिखो", "कविता")),
        ("", ("", "")),
        ("12 + 7", ("", "")),
    ],
)
def test_verb_and_noun_of_an_instruction(text: str, pair: tuple[str, str]) -> None:
    assert verb_and_noun(text) == pair


@pytest.mark.filterwarnings("ignore")
def test_a_parsed_sentence_gives_the_verb_and_its_object() -> None:
    tokens = pytest.importorskip("spacy.tokens")
    vocab = pytest.importorskip("spacy.vocab").Vocab()
    words = ["Hello", ".", "Wrote", "short", "poems", "of", "love"]
    heads, kinds = [0, 0, 2, 4, 2, 4, 5], ["INTJ", "PUNCT", "VERB", "ADJ", "NOUN", "ADP", "NOUN"]
    arcs = ["ROOT", "punct", "ROOT", "amod", "dobj", "prep", "pobj"]
    lemmas = ["hello", ".", "write", "short", "poem", "of", "love"]
    parsed = tokens.Doc(vocab, words=words, heads=heads, deps=arcs, pos=kinds, lemmas=lemmas)
    assert pair_of(parsed) == ("write", "poem")
    assert pair_of(tokens.Doc(vocab, words=["Hello"], heads=[0], deps=["ROOT"], pos=["INTJ"])) is None


@pytest.mark.parametrize(
    ("text", "form", "length"),
    [
        ("wren", "a few words", "one word"),
        ("42.5 %", "number", "one word"),
        ("It sings at night.", "a sentence", "2–5 words"),
        ("- a wren\n- an owl", "list", "2–5 words"),
        ("```\nx = 1\n```", "code", "2–5 words"),
        ('{"a": 1}', "JSON", "2–5 words"),
        ("| a | b |\n|---|---|", "table", "2–5 words"),
        ("word " * 500, "paragraphs", "over 400 words"),
        (" ", "", ""),
    ],
)
def test_form_and_length_of_an_answer(text: str, form: str, length: str) -> None:
    assert form_of(text) == form
    assert length_of(text) == length


def test_gini_is_that_of_the_mean_difference() -> None:
    assert gini([5, 5, 5, 5]) == pytest.approx(0)
    assert gini([0, 0, 0, 8]) == pytest.approx(0.75)
    assert gini([]) == 0


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_gini_equals_its_definition(counts: list[int]) -> None:
    differences = sum(abs(a - b) for a in counts for b in counts)
    assert gini(counts) == pytest.approx(differences / (2 * len(counts) * sum(counts)))
    (tail,) = long_tail(
        [row(n, "x") for n in range(sum(counts))],
        {"kind": [f"k{n}" for n, count in enumerate(counts) for _ in range(count)]},
    ).tails
    area = sum(
        (x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in zip(tail.lorenz, tail.lorenz[1:], strict=False)
    )
    assert tail.gini == pytest.approx(1 - 2 * area)
    assert sum(kind.rows for kind in tail.kinds) == sum(counts)
    assert 2 * sum(kind.rows for kind in tail.kinds[: tail.half]) >= sum(counts)


def test_thin_kinds_are_named_and_what_would_fill_them() -> None:
    kinds = ["write"] * 50 + ["sort"] * 48 + ["draw"] + [""]
    rows = [row(number, "x") for number in range(100)]
    report = long_tail(rows, {"verb": kinds})
    tail = report.tail("verb")
    assert tail.thin == 1
    assert (tail.half, round(tail.top, 2), len(tail.kinds)) == (1, 1.0, 3)
    (wanted,) = report.wanted("verb")
    assert (wanted.kind, wanted.rows, wanted.seeds) == ("draw", 6, ("98",))
    assert [(one.kind, one.rows) for one in report.wanted("verb", least=50)] == [("draw", 49), ("sort", 2)]
    assert json.loads(json.dumps(report.as_json()))["tails"][0]["facet"] == "verb"
    with pytest.raises(DataError, match="Did you mean 'verb'"):
        report.tail("verbs")


def test_rows_have_a_kind_under_each_facet() -> None:
    rows = [row(0, "Write a poem about the sea.", "Waves roll."), row(1, "写一首诗。", "海浪。")]
    found = facets(rows)
    assert all(len(kinds) == 2 for kinds in found.values())
    assert found["verb and noun"] == ["write poem", "写 诗"]
    assert found["task"] == ["t", "t"]
    assert len(set(found["language"])) == 2
    assert facets([])["topic"] == []


def test_topics_gather_texts_of_the_same_words_and_are_deterministic() -> None:
    birds = [
        f"The {bird} sings in the garden, and its feathers and wings are brown."
        for bird in ("wren", "robin", "thrush", "lark")
    ]
    sums = [
        f"Add the numbers {n} and seven, then multiply the sum by the decimal fraction." for n in range(4)
    ]
    found = topics([*birds, *sums, "!"], count=2)
    assert len(set(found[:4])) == 1
    assert len(set(found[4:8])) == 1
    assert found[0] != found[4]
    assert found[8] == "(no words)"
    assert Counter(topics([*birds, *sums, "!"], count=2)) == Counter(found)
    assert topics(["a", ""]) == ["(no words)"] * 2


def test_topics_of_other_scripts_are_named_by_what_they_are_about() -> None:
    texts = [
        "春についての詩を書いてください。",
        "冬についての詩を書いてください。",
        "请写一篇关于大海的文章。",
        "写一首关于大海的诗。",
    ]
    words = {word for name in topics(texts, count=2) for word in name.split(", ")}
    assert "大海" in words
    assert not {"てく", "くだ", "ださ", "の詩", "を書", "关于", "写一"} & words


def test_a_script_without_a_known_language_is_no_language() -> None:
    pytest.importorskip("lingua")
    assert facets([row(0, "x = y", "z")])["language"] == ["unknown (Latin script)"]
