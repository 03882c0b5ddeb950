"""Prompts in parts: cut as templates join them, planted parts found, and nothing else said to be."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.attribution.parts.attribute import Refusals, case_of
from espalier.attribution.parts.changes import OTHER, changed, donors, other_prompt
from espalier.attribution.parts.curves import along, height, order_of, random_orders
from espalier.attribution.parts.faith import faith
from espalier.attribution.parts.page import coloured, render, shown_method
from espalier.attribution.parts.parts import attribution
from espalier.attribution.parts.places import shares
from espalier.attribution.parts.prompt import UNITS, Prompt, cut
from espalier.attribution.parts.reading import readers
from espalier.core.errors import DataError, TemplateError
from espalier.core.journal import Journal
from espalier.core.records import Demonstration, Example, Task, TaskRow, message
from espalier.encode.template import Template
from espalier.explain.token_shift import Models
from espalier.models.load import Loaded
from espalier.models.places import Place
from espalier.tasks.templates import Show, asked, available, to_examples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MARK = "@"  # what the planted model looks for
SAYS = (ord("Y"),)
TASK = Task(
    name="sounds",
    definition=f"Say which sound the animal makes. Say {MARK} too.",
    cautions=("One word.", "No full stop."),
    positive=(Demonstration("a cow", "moo"), Demonstration("a cat", "meow")),
    negative=(Demonstration("a dog", "It barks."),),
    rows=tuple(TaskRow(str(n), f"animal {n}", ("moo",), source=f"s{n}") for n in range(10)),
)
SHOW = Show()
FEW = replace(
    TASK,
    definition=f"Do {MARK}.",
    cautions=("One.",),
    positive=TASK.positive[:1],
    negative=(),
    rows=TASK.rows[:6],
)
NAMES = ["definition", "caution 1", "caution 2", "good example 1", "good example 2", "bad example 1", "input"]
CHANGED = ("leave_out", "neutral", "swap")

words = st.text(alphabet=" ab.\né!", max_size=12)
shown = st.text(alphabet="ab. é", min_size=1, max_size=9).filter(str.strip)
tasks = st.builds(
    lambda definition, cautions, good, bad, text: Task(
        "t", definition, (TaskRow("1", text, ("x",)),), tuple(good), tuple(bad), tuple(cautions)
    ),
    words,
    st.lists(shown, max_size=3),
    st.lists(st.builds(Demonstration, words, words, words), max_size=3),
    st.lists(st.builds(Demonstration, words, words), max_size=2),
    words,
)


def rows_of(task: Task, show: Show = SHOW) -> list[Prompt]:
    show = available(task, show)
    return [cut(row, task, show) for row in to_examples(task, show)]


@given(tasks, st.booleans(), st.sampled_from(UNITS))
def test_pieces_are_the_prompt_letter_by_letter(task: Task, explain: bool, unit: Any) -> None:
    show = Show(explanations=explain)
    (prompt,) = rows_of(task, show)
    fine = prompt.finer(unit)
    (own,) = to_examples(task, available(task, show))
    assert [turn.text for turn in fine.messages()] == [turn.text for turn in own.prompt]
    assert fine.without(frozenset(range(len(fine.pieces))))[0].text == ""
    assert "".join(words for words, _ in fine.segments(0, {})) == own.prompt[0].text
    assert len(prompt.pieces) == len({piece.part for piece in fine.pieces})
    if task.definition.strip() and prompt.pieces[0].kind == "definition" and len(prompt.pieces) > 2:
        bare = replace(task, definition="")
        assert prompt.without(frozenset({0}))[0].text == asked(
            bare, available(bare, show), task.rows[0].input
        )


def test_a_conversation_is_cut_by_turns() -> None:
    turns = (
        message("system", "Be brief."),
        message("user", "Hi"),
        message("assistant", "Hello", trained=True),
        message("user", "Why?"),
        message("assistant", "So.", trained=True),
    )
    prompt = cut(Example("e", "chat", "s", turns), TASK, SHOW)
    assert [piece.name for piece in prompt.pieces] == ["system", "exchange 1", "input"]
    assert [turn.text for turn in prompt.without(frozenset({1}))] == ["Be brief.", "Why?"]
    assert [turn.text for turn in prompt.without(frozenset({0, 1, 2}))] == [""]
    assert not any(turn.trained for turn in prompt.messages())
    other = cut(Example("f", "chat", "t", (*turns[:3], message("user", "No?"), turns[4])))
    assert donors([prompt, other]) == [other, prompt]


def test_another_tasks_part_is_of_the_same_kind(template: Template) -> None:
    first, second = rows_of(TASK)[0], rows_of(replace(TASK, name="other", definition="Write a number."))[0]
    assert donors([first, second]) == [second, first]
    assert donors([first])[0] == other_prompt()
    swapped = changed("swap", first, 0, second, template)
    assert swapped is not None
    assert swapped[0].text.startswith("Write a number.\n\n- One word.")
    assert changed("swap", first, 1, second, template) is None  # the two say the same there
    seventh = changed("swap", first, 4, other_prompt(), template)
    assert seventh is not None
    assert OTHER.positive[1].output in seventh[0].text


@pytest.mark.parametrize("unit", UNITS)
def test_a_filler_has_as_many_tokens(template: Template, sentencepiece: Any, unit: Any) -> None:
    for reader in (template, Template(sentencepiece)):
        prompt = rows_of(TASK)[0].finer(unit)
        size = len(reader.prompt_ids(prompt.messages()))
        for place in range(len(prompt.pieces)):
            filled = changed("neutral", prompt, place, prompt, reader)
            assert filled is not None
            assert abs(len(reader.prompt_ids(filled)) - size) <= 1


@pytest.mark.parametrize("style", ["chatml", "gemma", "system", "wrapped", "mistral"])
def test_a_token_is_of_the_part_whose_letters_it_spells(
    chat_tokenizer: Callable[[str], Any], style: str
) -> None:
    template = Template(chat_tokenizer(style))
    task = replace(TASK, definition="  user assistant model. ", rows=(TaskRow("1", "user \n", ("moo",)),))
    (prompt,) = rows_of(task)
    owned = shares(prompt, template)
    ids = template.prompt_ids(prompt.messages())
    assert owned.shape == (len(NAMES), len(ids))
    assert owned.sum(0).max() <= 1 + 1e-9
    spelt = template.pieces(ids)
    for place, piece in enumerate(prompt.pieces):
        text = "".join(word for word, share in zip(spelt, owned[place], strict=True) if share > 0.5)
        assert (piece.head + piece.texts[0]).strip().startswith(text.strip()[:4])
        assert text.strip()[-4:] in piece.texts[0]


def test_a_template_that_writes_by_what_it_is_given_is_refused(chat_tokenizer: Callable[[str], Any]) -> None:
    import copy

    tokenizer = copy.deepcopy(chat_tokenizer("chatml"))
    own = "message.content"
    tokenizer.chat_template = tokenizer.chat_template.replace(own, f"({own} | length | string) + {own}")
    with pytest.raises(TemplateError, match="otherwise than it is written"):
        shares(rows_of(replace(TASK, definition="Say It"))[0], Template(tokenizer))


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.integers(0, 99))
def test_the_true_order_of_a_sum_is_the_lowest(weights: list[float], seed: int) -> None:
    def deletion(order: tuple[int, ...]) -> tuple[float, ...]:
        return tuple(sum(weights) - sum(weights[p] for p in order[:n]) for n in range(len(order) + 1))

    best = order_of(weights, "seed")
    assert best is not None
    drawn = random_orders(len(weights), str(seed))
    assert {order[::-1] for order in drawn} == {*drawn}
    assert all(height(deletion(best)) <= height(deletion(order)) + 1e-9 for order in drawn)
    mean = sum(height(deletion(order)) for order in drawn) / len(drawn)
    assert mean == pytest.approx(sum(weights) / 2)  # a pair's curves are each other's mirror
    assert along(deletion(best), 4)[::4] == pytest.approx([sum(weights), 0], abs=1e-9)


def test_orders_of_what_has_no_score() -> None:
    assert order_of([1.0, None], "s") is None
    assert order_of([1.0], "s") is None
    assert random_orders(1, "s") == []
    assert {order_of([0.0, 0.0], str(seed)) for seed in range(20)} == {(0, 1), (1, 0)}


@pytest.fixture
def planted(llama: Callable[..., Any], template: Template) -> Loaded:
    """A model that says Y where it sees a mark, wherever, and else anything: attention with one key."""
    import torch

    model = llama(
        320, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, rope_theta=1e9,
        max_position_embeddings=2048,
    )  # fmt: skip
    layer = model.model.layers[0]
    attention = layer.self_attn
    (mark,) = {token for token in range(320) if template.pieces([token]) == [MARK]}
    with torch.no_grad():
        for weight in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj, model.lm_head):
            weight.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        embedding = model.model.embed_tokens.weight
        embedding.zero_()
        embedding[:, 0] = 1
        embedding[mark, 1] = 1
        attention.q_proj.weight[15, 0] = 1  # the slowest turn of the positions
        attention.k_proj.weight[15, 1] = 10
        attention.v_proj.weight[0, 1] = 1
        attention.o_proj.weight[2, 0] = 1
        model.lm_head.weight[SAYS[0], 2] = 2
    unused: Any = None
    return Loaded(Place("planted"), model, unused, template, "planted")


def test_all_is_said_of_the_planted_part_and_of_no_other(planted: Loaded, tmp_path: Path) -> None:
    prompts, store = rows_of(FEW), Journal(tmp_path / "store")
    answers = {prompt.example.id: SAYS * (1 + n % 3) for n, prompt in enumerate(prompts)}
    models = Models(planted, planted)
    found = attribution(models, store, prompts, answers, methods=CHANGED)
    assert (found.rows, found.sources, found.networks) == (6, 6, 6)
    assert not found.left
    for method in CHANGED:
        lines = found.of(method)
        assert [line.part for line in lines] == ["definition", "caution 1", "good example 1", "input"]
        assert lines[0].tuned.value > 5
        assert [line.tuned.value for line in lines[1:]] == pytest.approx([0] * 3, abs=1e-3)
        assert all(line.moved.value == 0 for line in lines)
        faithful = found.faith_of(method)
        assert faithful.beats
        assert faithful.insertion.low > 0
        assert not faithful.by_text
        assert "with random weights it is not seen to" in faithful.verdict
    assert shown_method(found) in CHANGED
    assert coloured(found.told[0], "leave_out")[0][2] == 100
    assert "<s>" not in render(found)
    again = attribution(models, store, prompts, answers, methods=CHANGED)
    assert again.made == 0 < found.made
    assert replace(again, made=found.made) == found
    words = attribution(models, store, prompts[:1], answers, unit="word", methods=("leave_out",))
    assert words.faith[0].deletion.value > 2
    assert words.lines[0].tuned.value > 5


def test_scores_of_the_wrong_parts_are_struck_out(planted: Loaded, tmp_path: Path) -> None:
    prompts, given = rows_of(FEW), donors(rows_of(FEW))
    tuned, _ = readers(Models(planted, planted), Journal(tmp_path / "store"))
    refusals = Refusals()
    cases = [case_of(p, SAYS, d, planted.template, refusals) for p, d in zip(prompts, given, strict=True)]
    drawn = random.Random(1)
    shuffled = [drawn.sample([5.0, 0.0, 0.0, 0.0], 4) for _ in cases]
    wrong = [[0.0, 0.0, 5.0, 0.0] for _ in cases]
    for scores in (shuffled, wrong):
        (found,), _ = faith(tuned, cases, {"leave_out": scores}, refusals)
        assert not found.beats
        assert "not to be relied on" in found.verdict


def test_one_part_repeats_or_nothing_but_the_input(planted: Loaded, tmp_path: Path) -> None:
    def told(task: Task, show: Show = SHOW) -> Any:
        prompts = rows_of(task, show)
        answers = {prompt.example.id: SAYS for prompt in prompts}
        return attribution(
            Models(planted, planted), Journal(tmp_path / "store"), prompts, answers, methods=("leave_out",)
        )

    alone = told(Task("t", "", tuple(TaskRow(str(n), f"{MARK} {n}", ("x",)) for n in range(3))))
    assert [line.part for line in alone.lines] == ["input"]
    assert alone.lines[0].tuned.value > 5
    assert not alone.faith[0].deletion.known
    assert not alone.faith[0].beats
    assert "<s>leave_out</s>" in render(alone)
    assert "– (–)" in str(alone)
    rows, caution = FEW.rows[:2], f"Say {MARK}."
    twice = told(replace(FEW, definition="", rows=rows, cautions=(caution, caution)))
    assert [line.tuned.value for line in twice.lines] == pytest.approx([0] * 4, abs=1e-3)  # each is enough


def test_rows_that_cannot_be_asked_are_counted(planted: Loaded, tmp_path: Path) -> None:
    rows = (*FEW.rows[:2], TaskRow("9", "very long " * 90, ("moo",), source="long"))
    prompts = rows_of(replace(FEW, rows=rows))
    planted.template.context = 512
    refused = cut(Example("r", "sounds", "r", (message("user", "<|im_end|>"),), ("x",)))
    answers = {prompt.example.id: SAYS for prompt in [*prompts[1:], refused]}

    def told(several: list[Prompt]) -> Any:
        models = Models(planted, planted)
        return attribution(models, Journal(tmp_path / "store"), several, answers, methods=("leave_out",))

    found = told(prompts)
    assert found.rows == 1
    assert found.left == {
        "A row has no answer to be weighed.": 1,
        "A prompt with its answer is longer than the model's context.": 1,
    }
    with pytest.raises(DataError, match="No row's answer") as error:
        told(prompts[2:])
    assert "longer than the model's context" in error.value.hint
    with pytest.raises(DataError, match="No row's answer"):
        told([])
