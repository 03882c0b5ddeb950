"""Which answers refuse or name their writer, in many languages, and which only sound like it."""

from __future__ import annotations

import pytest

from espalier.core.records import Example, example_id, message
from espalier.data.judgement import filters


def ok(kind: str, prompt: str, *answers: str) -> bool | None:
    turns = [
        turn
        for answer in answers
        for turn in (message("user", prompt), message("assistant", answer, trained=True))
    ]
    (found,) = filters.build(kind, {}, "filter")([Example(example_id(answers), "t", prompt, tuple(turns))])
    return found.ok


REFUSALS = """\
I can’t help with that.
I must decline to write this.
Sorry, but I'm not able to open links.
It seems like your message is empty. How can I assist you today?
That is a fine question! However, as an AI language model, I have no opinions.
I'm sorry, but you didn't provide the song.
Sorry, this is about a person. We cannot do it.
Lo siento, pero no puedo ayudarte con eso.
Je suis désolé, mais je ne peux pas répondre.
Desculpe, mas não posso dizer isso.
Mi dispiace, ma non posso aiutarti.
К сожалению, я не могу ответить.
Es tut mir leid, aber ich kann dir dabei nicht helfen.
抱歉，我无法提供帮助。
申し訳ありませんが、お答えできません。
죄송합니다. 그 질문에는 답할 수 없습니다.
عذرًا، لا أستطيع المساعدة في ذلك.
क्षमा करें, मैं इसमें मदद नहीं कर सकता।
Xin lỗi, tôi không thể giúp bạn."""
ANSWERS = """\
I'm sorry to hear that you can't sleep. Try warm milk.
I apologize for the oversight. The sign in line two was wrong.
I'm sorry, but the shop is closed.
As an AI assistant, I would first ask which shoe hurts.
As an AI researcher, I cannot recommend fewer than ten runs.
I am afraid of spiders.
I will not go there by night.
Unfortunately, the team lost.
Es tut mir leid, dass du nicht schlafen kannst.
Je suis désolé pour ton chat.
Lo siento por tu perro.
К сожалению, поезд опоздал.
抱歉，我是小明。"""


@pytest.mark.parametrize("answer", REFUSALS.splitlines())
def test_a_refusal_is_told_in_any_of_its_languages(answer: str) -> None:
    assert ok("refusal", "How warm is it?", answer) is False


@pytest.mark.parametrize("answer", ANSWERS.splitlines())
def test_an_apology_that_answers_is_no_refusal(answer: str) -> None:
    assert ok("refusal", "How warm is it?", answer)


def test_a_refusal_that_was_asked_for_answers() -> None:
    assert ok(
        "refusal", "Translate it: I am sorry, I cannot come.", "Es tut mir leid, ich kann nicht kommen."
    )
    assert ok("refusal", "Give me an excuse for today.", "I'm sorry, but I am unable to come today.")
    assert (
        ok("refusal", "Write an email that says no.", "I'm sorry, but as an AI I cannot write it.") is False
    )


NAMES = """\
I'm Vicuna, and I like rain.
I am Claude, made by others.
I was trained by researchers of OpenAI.
No, I am a language model developed by Google.
我是由OpenAI开发的。
Я ChatGPT, и я люблю дождь."""
MODELS = """\
As of my last update in 2021, it was open.
I'm just an AI, so no.
Als KI habe ich keine Meinung.
Ich bin ein Sprachmodell.
En tant que modèle de langage, je n'ai pas d'avis.
Soy un modelo de lenguaje.
Sou um modelo de linguagem.
Как искусственный интеллект, я не чувствую.
Я — языковая модель.
作为一个人工智能语言模型，我没有感情。
私はAIなので感情はありません。
저는 인공지능이라서 몰라요."""
PEOPLE = """\
As an AI researcher I write papers.
TensorFlow was developed by Google, and GPT-3 by OpenAI.
Como ia dizendo, o mar é azul.
I am Claude Monet's neighbour.
My name is Bard Johnson."""


@pytest.mark.parametrize("answer", NAMES.splitlines())
def test_the_name_of_an_assistant_is_told_whatever_was_asked(answer: str) -> None:
    assert ok("self_identification", "How old is the sea?", answer) is False
    assert ok("self_identification", "Who are you?", answer) is False


@pytest.mark.parametrize("answer", MODELS.splitlines())
def test_being_a_model_is_told_where_nobody_asked(answer: str) -> None:
    assert ok("self_identification", "How old is the sea?", answer) is False
    assert ok("self_identification", "Are you a robot?", answer)


@pytest.mark.parametrize("answer", PEOPLE.splitlines())
def test_what_others_are_is_no_self_identification(answer: str) -> None:
    assert ok("self_identification", "How old is the sea?", answer)


@pytest.mark.parametrize("kind", ["refusal", "self_identification"])
def test_each_trained_answer_counts(kind: str) -> None:
    answers = ("As an AI language model, I do not know.", "It is warm.")
    assert ok(kind, "How warm is it?", *answers) is False
