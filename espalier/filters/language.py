"""The language of what a row asks and of what it answers, against those that are wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from espalier.core.errors import RecipeError, nearest
from espalier.data.judgement import Judgement, each, filters
from espalier.filters.languages import Languages, known_codes

if TYPE_CHECKING:
    from espalier.core.records import Example
    from espalier.data.judgement import Filter


@filters.register("language")
def language(
    *,
    wanted: tuple[str, ...] = ("en",),
    of: Literal["prompt", "answer", "row"] = "row",
    sureness: float = 0.7,
) -> Filter:
    """Rows in another language than those wanted (codes such as "en", "de"); needs the extra `language`."""
    languages = Languages()
    for code in wanted:
        if code not in known_codes():
            raise RecipeError(
                f"No language has the code '{code}'.",
                where="filter.language.wanted",
                hint=nearest(code, known_codes()),
            )

    def judge(example: Example) -> Judgement:
        asked = "\n".join(turn.text for turn in example.prompt if turn.role == "user")
        parts = {"prompt": {"prompt": asked}, "answer": {"answer": example.answer}}
        found = [
            (part, one)
            for part, text in parts.get(of, {"answer": example.answer, "prompt": asked}).items()
            for one in languages.of(text, wanted)
        ]
        others = [(part, one) for part, one in found if one.code not in wanted and one.sureness >= sureness]
        if others:
            why = " and ".join(
                dict.fromkeys(f"the {part} is in {one.name} ({one.code})" for part, one in others)
            )
            return Judgement(False, f"{why[0].upper()}{why[1:]}.", max(one.sureness for _, one in others))
        known = [one for _, one in found if one.code in wanted]
        if not known:
            return Judgement(None, "Its language cannot be told for sure.")
        return Judgement(True, score=min(one.sureness for one in known))

    return each(judge)
