"""Errors are sentences: place, what is wrong, what to do."""

from __future__ import annotations

import pickle

from espalier.core.errors import DataError, GenerationError, MissingExtra, nearest


def test_an_error_reads_as_place_message_hint() -> None:
    error = DataError("It is wrong.", where="x.json:3", hint="Mend it.")
    assert str(error) == "x.json:3: It is wrong. Mend it."
    assert str(DataError("It is wrong.")) == "It is wrong."


def test_generation_errors_say_whether_to_ask_again() -> None:
    assert GenerationError("Busy.", retryable=True).retryable
    assert not GenerationError("Refused.").retryable


def test_a_missing_extra_gives_the_pip_line() -> None:
    assert "pip install 'espalier-lm[serve]'" in str(MissingExtra("The server", "serve"))


def test_nearest_guesses_only_what_is_near() -> None:
    assert nearest("raet", ["rate", "rows"]) == "Did you mean 'rate'? Known: rate, rows."
    assert nearest("zzz", ["rate", "rows"]) == "Known: rate, rows."
    assert nearest("zzz", []) == "Known: none."


def test_errors_survive_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(DataError("It is wrong.", where="x", hint="Mend it.")))
    assert (error.message, error.where, error.hint) == ("It is wrong.", "x", "Mend it.")
