"""The record of a model's judging: the sentences, the numbers behind them, the prompt, and every verdict."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espalier.core.files import jsonl, write_atomic
from espalier.evaluate.beside import shown
from espalier.judge.pairs import PairScore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.core.records import Estimate
    from espalier.judge.grades import GradeScore
    from espalier.judge.words import Told, Trust


@dataclass(frozen=True)
class Judged:
    """What a judge said, and what that is worth. It prints as its two sentences.

    Attributes:
        judge: who judged, for a person.
        names: of the system that is scored, and of the one that it is scored against, if any.
        score: the numbers.
        told: the sentences.
        prompt: what the judge was asked, with {words} for the texts.
        controls: how many rows the controls were tried on.
        asked: how many different prompts.
        notes: what a reader has to know besides.
        rows: of each row its id, its verdicts and what the judge replied.
        folder: where the record lies; None where it is not kept.
    """

    judge: str
    names: tuple[str, ...]
    score: PairScore | GradeScore
    told: Told
    prompt: str
    controls: int
    asked: int
    notes: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]
    folder: Path | None = None

    def __str__(self) -> str:
        """Return both sentences."""
        return str(self.told)

    @property
    def trust(self) -> Trust:
        """How far it can be believed: "none" where the judge says nothing, "little" where it is biased."""
        return self.told.trust

    @property
    def sentences(self) -> list[str]:
        """Who wins by how much, and whether the judge can be believed."""
        return [self.told.winner, self.told.judge]

    def kept(self) -> Judged:
        """Write the record into its folder, and return it: judged.json, and verdicts.jsonl row by row."""
        if self.folder is not None:
            table = self.plain()
            rows: list[dict[str, Any]] = table.pop("rows")
            write_atomic(self.folder / "judged.json", json.dumps(table, indent=1, ensure_ascii=False) + "\n")
            write_atomic(self.folder / "verdicts.jsonl", jsonl(rows))
        return self

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it: rates in per cent, with "low", "high", "n" and "missing"."""
        extra: dict[str, Any] = {"names": [*self.names], "said": self.sentences, "trust": self.trust}
        if isinstance(self.score, PairScore):
            won, tied, lost, unread = self.score.counts
            extra["counts"] = {"won": won, "tied": tied, "lost": lost, "unread": unread}
            extra["first_place_p"] = self.score.place_p
            extra["length_why"] = self.score.lengths.why
        numbers = {key: _number(one) for key, (_, one) in self._numbers().items()}
        about = {"judge": self.judge, "prompt": self.prompt, "controls": self.controls, "asked": self.asked}
        lead = next(iter(numbers.values())) or {}
        return {
            "scorer": "judge", **lead, **extra, **numbers, **about,
            "notes": [*self.notes], "rows": [*self.rows],
        }  # fmt: skip

    def table(self) -> list[list[str]]:
        """Return the numbers as a table: what it is, the value with its interval, and of how many."""
        known = [(title, one) for title, one in self._numbers().values() if one and (one.n or one.missing)]
        return [["", "", "n"], *([title, str(one), str(one.n)] for title, one in known)]

    def _numbers(self) -> dict[str, tuple[str, Estimate | None]]:
        score = self.score
        if isinstance(score, PairScore):
            agreed, chance = score.agreed or (None, None)
            return {
                "win_rate": (f"{self.names[0]} wins, ties as halves, %", score.rate),
                "length_controlled": (
                    "the same at equal length, %",
                    score.lengths.controlled,
                ),
                "length_slope": ("length slope, log-odds", score.lengths.slope),
                "longer": ("the longer answer wins, %", score.longer),
                "flips": ("verdicts that change with the order, %", score.flips),
                "held": ("winners that stay when answers change places, %", score.held),
                "first_place": ("the first place is named, %", score.place),
                "ties": ("ties, %", score.ties),
                "blind": ("the same without the request, %", score.blind),
                "padded": ("padding wins against none, %", score.padded),
                "same": ("an answer ties with itself, %", score.same),
                "agreement": ("as the gold verdicts, %", agreed),
                "alpha": ("the same beyond chance: Krippendorff's alpha", chance),
            }
        return {
            "grade": (f"grade of {self.names[0]}", score.rate),
            "length_slope": ("grades for a standard deviation of length", score.slope),
            "blind": ("the same without the request, %", score.blind),
            "padded": ("grades that padding adds", score.padded),
            "alpha": ("as the gold grades beyond chance: Krippendorff's alpha", score.agreed),
        }


def _number(one: Estimate | None) -> dict[str, Any] | None:
    return {**shown(one), "n": one.n, "missing": one.missing} if one is not None else None
