"""Steps of generation, with an author whose answers are known: what is made, and what is not, and why."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import RecipeError
from espalier.core.files import content_hash
from espalier.core.recipe import Choice
from espalier.core.records import Completion, Example, message
from espalier.generate.author import Author, Made, Reject, ask, steps, unanswered
from espalier.generate.prompts import PROMPTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SAMPLE = Choice.model_validate({"kind": "sample", "limit": 100, "temperature": 0.8, "seed": 1})
GREEDY = Choice.model_validate({"kind": "greedy", "limit": 100})


@dataclass
class Scripted:
    """A generator that answers by a function of the prompt's text and the sample, in an order of its own."""

    answer: Callable[[str, int], str]
    calls: list[list[str]] = field(default_factory=list)
    settings: list[Choice] = field(default_factory=list)

    def generate(self, examples: Sequence[Example], settings: Choice) -> Iterator[Completion]:
        self.calls.append([row.prompt[-1].text for row in examples])
        self.settings.append(settings)
        for row in reversed(examples):
            for sample in reversed(range(settings.params.get("samples", 1))):
                text = self.answer(row.prompt[-1].text, sample)
                key = content_hash([[turn.text for turn in row.prompt], settings.params, sample])
                cut = text.endswith("…")
                yield Completion(row.id, text, sample=sample, request=key, finish="length" if cut else "stop")


def row(prompt: str, answer: str, task: str = "chat") -> Example:
    turns = (message("user", prompt), message("assistant", answer, trained=True))
    return Example(f"id of {prompt}", task, prompt, turns, (answer,), input=prompt)


def made_by(
    kind: str,
    rows: Sequence[Example],
    answer: Callable[[str, int], str],
    /,
    settings: Choice = SAMPLE,
    **params: Any,
) -> tuple[list[Example], list[Reject], Scripted]:
    scripted = Scripted(answer)
    found: list[Made] = list(
        steps.build(kind, params, "generate")(rows, Author(scripted, "scripted", settings))
    )
    again = list(steps.build(kind, params, "generate")(rows, Author(Scripted(answer), "scripted", settings)))
    assert found == again
    examples = [one for one in found if isinstance(one, Example)]
    rejects = [one for one in found if isinstance(one, Reject)]
    assert all(one.step == kind and one.reason.endswith(".") for one in rejects)
    for one in examples:
        assert one.origin["prompt"] in {*PROMPTS, kind}
        assert one.origin["model"] == "scripted"
        assert one.origin["request"]
        assert one.origin["parents"]
    assert len({one.id for one in examples}) == len(examples)
    return examples, rejects, scripted


SEEDS = [
    row(f"{verb} the {noun} of this text.", "x")
    for verb in ("Name", "Count", "Sort")
    for noun in ("nouns", "verbs", "dates")
]
NEW = [
    "Explain how tides come about to a child of eight.",
    "Tell whether a review is positive or negative.",
    "Name the nouns of this text.",  # a seed
    "Draw a picture of a harbour at night.",
    "Hm.",
    "* what is this, a list in a list?",
    "Write a polite refusal of an invitation to a wedding.",
    "Convert a temperature from Fahrenheit to Celsius.",
]


def bootstrapped(prompt: str, sample: int) -> str:
    if prompt.startswith("Below is a list"):
        first = int(re.findall(r"numbered from (\d+)", prompt)[0])
        return "\n".join(f"{first + place}. {text}" for place, text in enumerate(NEW))
    if "Say yes or no" in prompt:
        return "Yes." if "positive or negative" in prompt else "No."
    if prompt.startswith("Make one"):
        return (
            "Input: none\nOutput: It is so." if "tides" in prompt else f"Input: {prompt[-40:]}\nOutput: done"
        )
    return (
        "Output: positive\nInput: I loved it.\n\nOutput: negative\nInput: I hated it.\n\nOutput: x\nInput: x"
    )


def test_self_instruct_makes_what_is_new_and_says_what_was_not() -> None:
    examples, rejects, scripted = made_by("self_instruct", SEEDS, bootstrapped, count=20)
    asked = [one.prompt[0].text for one in examples]
    assert asked[0] == NEW[0]
    assert [one.answer for one in examples if one.origin["prompt"] == "output-first"] == [
        "positive",
        "negative",
    ]
    assert f"{NEW[1]}\nI loved it." in asked
    assert len(examples) == 5
    assert examples[0].task == "chat"
    assert set(examples[0].origin["parents"]) <= {seed.id for seed in SEEDS}
    assert len(examples[0].origin["requests"]) == 3
    reasons = Counter(one.reason for one in rejects)
    assert reasons["It asks for more than text."]
    assert reasons["It has less than 3 words, or more than 150."]
    assert reasons["The answer repeats the input."] == 1
    assert reasons["It resembles a task that is there."] > reasons["It asks for more than text."]
    shown = [re.findall(r"^\d+\. (.*)$", prompt, re.MULTILINE) for prompt in scripted.calls[0]]
    assert all(len(set(texts)) == 8 for texts in shown)
    later = [prompt for call in scripted.calls[1:] for prompt in call if prompt.startswith("Below is")]
    own = [
        sum(line in {*NEW} - {NEW[2]} for line in re.findall(r"^\d+\. (.*)$", prompt, re.MULTILINE))
        for prompt in later
    ]
    assert set(own) == {2}
    assert len(scripted.calls[0]) == 16  # asked at once
    assert len({prompt[:200] for prompt in scripted.calls[0]}) == 1


def test_self_instruct_makes_no_more_than_asked_and_fills_kinds() -> None:
    examples, _, scripted = made_by("self_instruct", SEEDS, bootstrapped, count=3, about=("law", "cooking"))
    assert len(examples) == 3
    assert ["law" in prompt for prompt in scripted.calls[0]] == [True, False, True]
    with pytest.raises(RecipeError, match="no seeds"):
        made_by("self_instruct", [], bootstrapped)


def test_self_instruct_ends_where_nothing_can_be_read() -> None:
    examples, rejects, _ = made_by("self_instruct", SEEDS, lambda *_: "I do not know.", count=5)
    assert not examples
    assert {one.reason for one in rejects} == {"No instruction can be read from the answer."}


def test_evolve_eliminates_by_the_four_rules() -> None:
    names = ("good", "same", "gainless", "copied", "sorry", "empty", "cut", "picture")
    rows = [row(f"Describe the {name} house in general.", "x") for name in names]

    def answer(prompt: str, sample: int) -> str:
        if "Say yes or no" in prompt:
            return "Yes." if "gainless" in prompt else "No."
        text = prompt.rsplit("\n\n", 1)[-1]
        name = next(name for name in names if f"the {name} house" in text)
        if prompt == text:  # the evolved instruction
            return {"sorry": "I'm sorry, I do not know.", "empty": "It is the …!"[:-2] + "."}.get(
                name, "It has two floors."
            )
        return {
            "same": text,
            "copied": f"{text} This is the rewritten prompt.",
            "cut": "Describe the cut…",
            "picture": f"Draw a picture of the {name} house.",
        }.get(name, f"{text} Name the year in which it was built, too.")

    examples, rejects, _ = made_by("evolve", rows, answer, ways=("deepen", "constrain"))
    assert [one.prompt[0].text for one in examples] == [
        "Describe the good house in general. Name the year in which it was built, too."
    ]
    assert examples[0].origin["parents"] == [rows[0].id]
    found = {
        next(
            name for name in names if one.parents == (f"id of Describe the {name} house in general.",)
        ): one.reason
        for one in rejects
    }
    assert found == {
        "same": "It asks for the same as before.",
        "gainless": "It asks for the same as before.",
        "copied": "It repeats words of the prompt that evolved it.",
        "sorry": "The answer to it is an apology.",
        "empty": "The answer to it says nothing.",
        "cut": "The answer was cut off at the limit of tokens.",
        "picture": "It asks for more than text.",
    }


def test_evolve_goes_on_from_what_has_evolved() -> None:
    def answer(prompt: str, sample: int) -> str:
        text = prompt.rsplit("\n\n", 1)[-1]
        return "No." if "Say yes" in prompt else "Well." if text == prompt else f"{text} And more of it."

    examples, _, _ = made_by("evolve", [row("Describe a house.", "x")], answer, rounds=3)
    assert [one.prompt[0].text.count("And more") for one in examples] == [1, 2, 3]
    assert examples[2].origin["parents"] == [examples[1].id, "id of Describe a house."]
    assert len({one.origin["prompt"] for one in examples}) == 3


def test_respond_lets_checks_and_a_judge_choose() -> None:
    said = [
        "It was long.",
        "How long did the walk in the park last?",
        "How long did the walk last?",
        "How long did the walk take?",
    ]
    asked = unanswered(
        [message("user", "Input: They went for a walk in the park.")],
        "event-duration",
        input="They went for a walk in the park.",
    )
    checks = ("asks_duration", "well_formed")

    def answer(prompt: str, sample: int) -> str:
        return ("3" if "park last" in prompt else "9 of 10") if "Grade" in prompt else said[sample]

    examples, rejects, _ = made_by("respond", [asked], answer, candidates=4, checks=checks)
    assert [one.answer for one in examples] == [said[1]]
    assert [one.text for one in rejects] == [said[0]]
    assert "asks_duration" in rejects[0].reason
    assert examples[0].prompt == asked.prompt
    assert (examples[0].input, examples[0].source, examples[0].task) == (
        asked.input,
        asked.source,
        asked.task,
    )
    assert examples[0].origin["candidate"] == 1
    for judge, best in (("author", 2), ("agreement", 2), ("first", 1)):
        chosen, _, _ = made_by("respond", [asked], answer, candidates=4, checks=checks, judge=judge)
        assert [one.answer for one in chosen] == [said[best]], judge
    liked, _, _ = made_by("respond", [row("Say it.", said[3])], answer, candidates=4, judge="rouge_l")
    assert [one.answer for one in liked] == [said[3]]
    with pytest.raises(RecipeError, match="No reward is named 'taste'"):
        steps.build("respond", {"judge": "taste"}, "generate")
    with pytest.raises(RecipeError, match="differ only where they are drawn"):
        made_by("respond", [asked], answer, GREEDY, candidates=2)


def test_respond_shows_a_task_in_turns_and_keeps_the_prompt_of_the_row() -> None:
    asked = unanswered([message("user", "The row's own prompt.")], "event-duration", input="She ran home.")
    seen: list[list[str]] = []

    def answer(prompt: str, sample: int) -> str:
        return "How long did she run?" if prompt == "Input: She ran home." else "?"

    scripted = Scripted(answer)
    given = scripted.generate

    def generate(examples: Sequence[Example], settings: Choice) -> Iterator[Completion]:
        seen.extend([turn.text for turn in row.prompt] for row in examples)
        return given(examples, settings)

    scripted.generate = generate  # type: ignore[method-assign]
    step = steps.build("respond", {"task": "event-duration", "shots": 2}, "generate")
    (made,) = step([asked], Author(scripted, "scripted", GREEDY))
    assert isinstance(made, Example)
    assert [turn.text for turn in made.messages] == ["The row's own prompt.", "How long did she run?"]
    assert len(seen[0]) == 5
    assert seen[0][0].startswith("Read the sentence")
    (bad,) = step([asked], Author(Scripted(lambda *_: "He ran."), "scripted", GREEDY))
    assert isinstance(bad, Reject)
    assert "asks_duration" in bad.reason


def test_respond_says_which_prompts_have_no_answer() -> None:
    rows = [row(text, "old") for text in ("Say a.", "Say b.")]
    examples, rejects, _ = made_by("respond", rows, lambda prompt, _: "A." if "a." in prompt else " ", GREEDY)
    assert [(one.answer, one.origin["parents"]) for one in examples] == [("A.", ["id of Say a."])]
    assert [(one.reason, one.parents) for one in rejects] == [("The answer is empty.", ("id of Say b.",))]


def test_backtranslate_makes_instructions_for_texts() -> None:
    texts = ["The moon draws the sea.", "Bees dance.", "Nothing."]
    rows = [unanswered([message("user", text)], "texts") for text in texts]

    def answer(prompt: str, sample: int) -> str:
        if "Grade" in prompt:
            return "8" if "moon" in prompt else "2"
        return (
            "Instruction: Explain what draws the sea."
            if "moon" in prompt
            else "Say how bees talk."
            if "Bees" in prompt
            else "x"
        )

    examples, rejects, _ = made_by("backtranslate", rows, answer, least=5)
    assert [(one.prompt[0].text, one.answer) for one in examples] == [
        ("Explain what draws the sea.", texts[0])
    ]
    assert [one.reason for one in rejects] == [
        "The author grades the pair too low.",
        "It has less than 3 words, or more than 150.",
    ]
    assert len(made_by("backtranslate", rows, answer)[0]) == 2


def test_converse_talks_by_turns_and_ends_in_time() -> None:
    def answer(prompt: str, sample: int) -> str:
        if prompt.startswith("You are the person"):
            return (
                "END"
                if "short" in prompt or prompt.count("Assistant:") > 2
                else f"You: And after {prompt.count('Assistant:')}?"
            )
        return f"Answer to {prompt}"

    rows = [row("Tell me a long tale.", "x"), row("Tell me a short tale.", "x")]
    examples, rejects, scripted = made_by("converse", rows, answer, turns=5)
    (talk,) = examples
    assert [turn.role for turn in talk.messages] == ["user", "assistant"] * 3
    assert [turn.text for turn in talk.messages][2:4] == ["And after 1?", "Answer to And after 1?"]
    assert all(turn.trained for turn in talk.messages if turn.role == "assistant")
    assert len(talk.origin["requests"]) == 5
    assert [(one.reason, one.parents) for one in rejects] == [
        ("The person had nothing more to say.", (rows[1].id,))
    ]
    assert [len(call) for call in scripted.calls] == [2, 2, 1, 1, 1, 1]  # all talks take their turn at once
    _, stuck, _ = made_by("converse", rows[:1], lambda prompt, _: "The same again.")
    assert [one.reason for one in stuck] == ["An answer is given twice."]


def test_wrong_answers_stand_beside_the_right_one() -> None:
    rows = [row("What is 2 + 2?", "4"), unanswered([message("user", "What is 3 + 3?")], "sums")]
    said = ["Answer: 5", "4.", "5", "22"]
    examples, rejects, _ = made_by("wrong_answers", rows, lambda _, sample: said[sample], count=4)
    (made,) = examples
    assert made.messages == rows[0].messages
    assert [turn.text for turn in made.rejected] == ["5", "22"]
    assert made.id != rows[0].id
    assert [one.reason for one in rejects] == [
        "It is a right answer.",
        "It was written before.",
        "The row has no right answer.",
    ]


def test_a_schema_is_asked_for_where_it_is_known() -> None:
    scripted = Scripted(bootstrapped)
    author = Author(scripted, "scripted", GREEDY, schemas=True)
    list(steps.build("self_instruct", {"count": 1}, "generate")(SEEDS, author))
    known = ["json_schema" in settings.params for settings in scripted.settings]
    assert known == [True, False, True]


def test_the_same_prompt_is_asked_once() -> None:
    scripted = Scripted(lambda prompt, sample: prompt)
    answers = ask(Author(scripted, "scripted", GREEDY), ["a", "b", "a"])
    assert [said[0].text for said in answers] == ["a", "b", "a"]
    assert len(scripted.calls[0]) == 2
    assert ask(Author(scripted, "scripted", GREEDY), []) == []


def test_thoughts_are_left_out_and_have_room() -> None:
    def answer(prompt: str, sample: int) -> str:
        return "<think>\nA grade? 2, or 3.\n</think>\n" + ("9" if "Grade" in prompt else "It is long.")

    @dataclass
    class Thinker(Scripted):
        def generate(self, examples: Sequence[Example], settings: Choice) -> Iterator[Completion]:
            for one in Scripted.generate(self, examples, settings):
                short = settings.params["limit"] < 10
                yield replace(one, text="<think>\nA", finish="length") if short else one

    thinker = Thinker(answer)
    step = steps.build("respond", {"candidates": 2, "judge": "author"}, "generate")
    (made,) = step([row("Is it long?", "x")], Author(thinker, "thinker", SAMPLE))
    assert isinstance(made, Example)
    assert made.answer == "It is long."
    assert [settings.params["limit"] for settings in thinker.settings] == [100, 4, 100]


def test_self_instruct_keeps_code_and_says_what_was_cut() -> None:
    code = "Say what this code does:\n```python\nfor x in y:\n    f(x)\n```"

    def answer(prompt: str, sample: int) -> str:
        if prompt.startswith("Below is a list"):
            return f"9. {code}" if "x = 1" not in prompt else "Well, I…"
        return (
            "No."
            if "yes or no" in prompt
            else "Input: none\nOutput: It calls f.\n\nInput: none\nOutput: It calls f."
        )

    examples, _, _ = made_by("self_instruct", SEEDS, answer, count=1)
    assert examples[0].prompt[0].text == code
    _, rejects, _ = made_by("self_instruct", [row("Do x = 1 and tell me.", "x")], answer, count=1)
    assert {one.reason for one in rejects} == {"The answer was cut off at the limit of tokens."}


def test_the_same_example_twice_is_one() -> None:
    def answer(prompt: str, sample: int) -> str:
        if prompt.startswith("Output") or "classification" in prompt:
            return "Yes."
        if prompt.startswith("Below"):
            return f"9. {NEW[1]}"
        return "Output: good\nInput: Fine.\n\nOutput: good\nInput: Fine.\n\nOutput: bad\nInput: Poor."

    examples, rejects, _ = made_by("self_instruct", SEEDS, answer, count=2)
    assert [one.answer for one in examples] == ["good", "bad"]
    assert not [one for one in rejects if "several answers" in one.reason]


def test_the_registry_knows_all_steps() -> None:
    assert steps.names() == [
        "backtranslate",
        "converse",
        "evolve",
        "respond",
        "self_instruct",
        "wrong_answers",
    ]
    with pytest.raises(RecipeError, match="No step of generation is named 'evolv'"):
        steps.build("evolv", {}, "generate")
