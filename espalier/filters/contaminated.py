"""Rows that a test set has too: by their texts, by runs of their words, and by the source of their task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from espalier.core.errors import DataError, RecipeError
from espalier.data.judgement import PASSES, Judgement, filters
from espalier.data.mixture import place_of
from espalier.filters.contamination import contamination
from espalier.filters.same_source import shared_source, texts_in, texts_of
from espalier.formats.folders import files_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from espalier.core.records import Example
    from espalier.data.judgement import Filter


@filters.register("contamination")
def build_contamination(
    *, tests: tuple[str, ...], same_source: Literal["refuse", "allow"] = "refuse"
) -> Filter:
    """Rows of which a test set has the texts; a task from the source of a test task is refused."""
    if not tests:
        raise RecipeError(
            "No test set is named.", where="filter.tests", hint="Name files that are not trained on."
        )
    files: list[str] = []
    for test in tests:
        place = place_of(test)
        for file in files_of(place).paths:
            if not file.is_file():
                raise DataError("There is no such test set.", where=str(file))
            files.append(test if file == place else str(file))
    refused = files if same_source == "refuse" else []

    def judge(rows: Iterable[Example]) -> Iterator[Judgement]:
        held = [(f"{test}:{place}", texts) for test in files for place, texts in texts_in(test)]
        found = contamination(map(texts_of, _refused(rows, refused)), [texts for _, texts in held])
        by_row = {match.train: match for match in found.matches}
        matched = set(found.rows)
        for number, _ in enumerate(rows):
            if number not in matched:
                yield PASSES
                continue
            match = by_row.get(number)
            what = f": “{match.passage}” ({match.kind})." if match else ", as a row before this one has."
            near = held[match.test][0] if match else ""
            yield Judgement(False, f"A test set has it{what}", match.share if match else None, near)

    return judge


def _refused(rows: Iterable[Example], tests: Sequence[str]) -> Iterator[Example]:
    """Yield the rows, as long as none is of a file whose task is of a test task's source."""
    seen: set[str] = set()
    for example in rows:
        file = str(example.origin.get("file", ""))
        if file and file not in seen:
            seen.add(file)
            for test in tests:
                if source := shared_source(file, test):
                    raise DataError(
                        f"The task is made of the same source, '{source}', as the test set {test}.",
                        where=file,
                        hint='Leave it out, or take it all the same: same_source = "allow" in the filter.',
                    )
        yield example
