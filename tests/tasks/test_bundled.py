"""The bundled preferences keep what they promise: sentences of their own, and answers the checks can tell."""

from __future__ import annotations

import pytest

from espalier.tasks.checks import run_checks
from espalier.tasks.event_duration.words import content_roots
from espalier.tasks.task_files import load_task

NAMES = ("duration-pairs", "duration-thumbs")
# What is wrong with a rejected question that no check sees; the others say what a check finds too.
UNSEEN = {"Everyday experience cannot guess it.", "The sentence tells of no such event."}
CHECKS = load_task("event-duration").checks


def passes(task_input: str, output: str) -> bool:
    return all(verdict.ok for verdict in run_checks(CHECKS, task_input, output).values())


@pytest.mark.parametrize("name", NAMES)
def test_the_task_is_that_of_the_sentences(name: str) -> None:
    task, like = load_task(name), load_task("event-duration")
    assert task.name == name
    assert (task.definition, task.positive, task.negative, task.cautions, task.checks) == (
        like.definition,
        like.positive,
        like.negative,
        like.cautions,
        like.checks,
    )


@pytest.mark.parametrize("name", NAMES)
def test_good_answers_pass_the_checks_and_bad_ones_do_not(name: str) -> None:
    for row in load_task(name).rows:
        assert all(passes(row.input, output) for output in row.outputs), row
        if row.rejected:
            assert (row.tags["caught"] == "no") == (row.tags["why"] in UNSEEN)
            assert all(
                passes(row.input, output) == (row.tags["caught"] == "no") for output in row.rejected
            ), row


def test_pairs_have_both_and_thumbs_have_one() -> None:
    pairs, thumbs = (load_task(name).rows for name in NAMES)
    assert len(pairs) >= 160
    assert len(thumbs) >= 120
    assert all(len(row.outputs) == len(row.rejected) == 1 for row in pairs)
    assert all(len(row.outputs) + len(row.rejected) == 1 for row in thumbs)
    assert 0.4 < sum(bool(row.outputs) for row in thumbs) / len(thumbs) < 0.6


def test_no_sentence_comes_twice() -> None:
    sentences = [row.input for name in ("event-duration", *NAMES) for row in load_task(name).rows]
    seen: list[frozenset[str]] = []
    for sentence in sentences:
        roots = frozenset(content_roots(sentence))
        near = [other for other in seen if len(roots & other) > max(3, 0.6 * min(len(roots), len(other)))]
        assert not near, sentence
        seen.append(roots)
