"""What a judge is asked: which of two answers is better, or how good one is; and the controls of both.

The request comes first and the answers last, so that both orders, and all answers to a request, share what a
tree of prompts computes once. The words are MT-Bench's in short (Zheng et al. 2023, figures 5 and 6), but for
the reasons that it asks for first: a verdict alone can be weighed by likelihood, and costs one token.
"""

from __future__ import annotations

RUBRIC = "how helpful, relevant, correct and complete it is, as an answer to the request"
OPTIONS = ("A", "B", "tie")
MOST = 10  # the best grade
GRADES = tuple(str(grade) for grade in range(1, MOST + 1))
LONGER = 1.5  # times an answer's length that a padded one has at least
LEAST = 200  # characters of padding at least
# True of any answer, and nothing of the request.
PADDING = (
    "That is what can be said in reply to the request as it was put.",
    "The above is meant to be read as a whole, from its beginning to its end.",
    "Each part of it stands where it does because it belongs to what was asked.",
    "Nothing else is added here beyond what has already been stated above.",
    "With this the reply to the request comes to its end.",
    "It has been written in order to reply to what was asked, and for no other purpose.",
)


def pair_prompt(request: str | None, first: str, second: str, rubric: str = RUBRIC) -> str:
    """Return what a judge is asked of two answers; with None as request it does not see that."""
    what = "Two answers were given to one request. Say which of them is better, by "
    fair = "Neither the place of an answer nor its length makes it better."
    end = "Which answer is better? Reply with A, with B, or with tie where they are as good, and no more."
    texts = [_block("Answer A", first), _block("Answer B", second)]
    return "\n\n".join([f"{what}{rubric}. {fair}", _request(request), *texts, end])


def grade_prompt(request: str | None, answer: str, rubric: str = RUBRIC) -> str:
    """Return what a judge is asked of one answer, with None as request without it."""
    what = f"An answer was given to a request. Grade it from 1 to {MOST}, by "
    fair = "Its length makes it no better."
    end = f"Reply with a whole number from 1 (worst) to {MOST} (best), and no more."
    return "\n\n".join([f"{what}{rubric}. {fair}", _request(request), _block("Answer", answer), end])


def padded(answer: str) -> str:
    """Return an answer with sentences behind it that say nothing."""
    end = ""
    number = 0
    while len(end) < max(LEAST, (LONGER - 1) * len(answer)):
        end += f" {PADDING[number % len(PADDING)]}"
        number += 1
    return f"{answer.rstrip()}\n\n{end.strip()}"


def _request(request: str | None) -> str:
    return "[The request is not shown.]" if request is None else _block("Request", request)


def _block(name: str, text: str) -> str:
    return f"[{name}]\n{text}\n[End of {name[0].lower()}{name[1:]}]"
