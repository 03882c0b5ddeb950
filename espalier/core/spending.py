"""What requests to servers cost, as the journal holds it, and the budget that no request may overdraw.

Four kinds of entries tell of a request, whose key is the hash of all that determines its answer:

    sent:KEY:SESSION        it goes out, and may cost so much at most
    request:KEY             its answer, with the tokens that the server counted
    lost:KEY:SESSION:TRY    a try of which nobody can say whether it was paid: the line broke, or the answer
                            was unreadable
    ended:KEY:SESSION       it was given up, and no answer was made

So what a dead process had sent, and never had an answer to, is known: it counts as spent in full.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from espalier.core.errors import RecipeError

if TYPE_CHECKING:
    from espalier.core.journal import Journal

MILLION = 1_000_000
SIGNS = {"$": "USD", "€": "EUR", "£": "GBP"}
TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens of prompts, and of answers, cost."""

    read: float = 0.0
    written: float = 0.0

    def of(self, read: int, written: int) -> float:
        """Return what so many tokens cost."""
        return (read * self.read + written * self.written) / MILLION


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that may be spent: an amount of a currency, or of tokens (prompts and answers together)."""

    amount: float
    unit: str

    def cost(self, price: Price, read: int, written: int) -> float:
        """Return what so many tokens take of it."""
        return read + written if self.unit == TOKENS else price.of(read, written)

    def shown(self, amount: float) -> str:
        """Return an amount in its unit, for a person."""
        return f"{amount:,.0f} tokens" if self.unit == TOKENS else money(amount, self.unit)


def money(amount: float, unit: str) -> str:
    """Return an amount of money, small ones with enough places to be seen."""
    return f"{amount:,.{2 if amount >= 1 or not amount else 6}f} {unit}"


def budget_of(text: str, price: Price, where: str = "budget") -> Budget:
    """Return what "5 USD", "$5" or "200000 tokens" says.

    Raises:
        RecipeError: it says none, or it is of money, and tokens have no price.
    """
    sign = next((sign for sign in SIGNS if text.startswith(sign)), "")
    plain = f"{text[1:]} {SIGNS[sign]}" if sign else text
    found = re.fullmatch(r"\s*(\d[\d,_]*(?:\.\d+)?)\s*([A-Z]{3}|tokens)\s*", plain)
    if not found:
        raise RecipeError(
            f"'{text}' is no budget.", where=where, hint='Write "5 USD", or "200000 tokens" for both kinds.'
        )
    budget = Budget(float(re.sub("[,_]", "", found[1])), found[2])
    if budget.unit != TOKENS and not (price.read or price.written):
        raise RecipeError(
            "A budget of money needs the price of tokens.",
            where=where,
            hint='Say what a million of them cost (price_in, price_out), or write "200000 tokens".',
        )
    return budget


@dataclass(frozen=True, slots=True)
class Spent:
    """What requests have cost.

    Attributes:
        requests: answers that were made.
        read, written: tokens of their prompts and of the answers themselves.
        money: what they cost, each at the price of its time.
        estimated: of how many the server said no tokens, so that the most possible is counted.
        unsure: tries of which nobody can say whether they were paid.
        at_most: what these cost, if they were.
    """

    requests: int = 0
    read: int = 0
    written: int = 0
    money: float = 0.0
    estimated: int = 0
    unsure: int = 0
    at_most: float = 0.0

    def plus(self, other: Spent, sign: int = 1) -> Spent:
        """Return both together; with the sign -1, what came to it since the other."""
        both = {name: value + sign * getattr(other, name) for name, value in asdict(self).items()}
        return Spent(**both)


NOTHING = Spent()


def spent(journal: Journal) -> dict[str, Spent]:
    """Return what each step has cost, and "" for all of them together. Raises RunError."""
    answered = journal.under("request:")
    sums: dict[str, list[float]] = {}

    def count(entry: Mapping[str, Any], *numbers: float) -> None:
        for step in ("", str(entry["step"])):
            row = sums.setdefault(step, [0.0] * 7)
            for place, number in enumerate(numbers):
                row[place] += number

    for entry in answered.values():
        (read, written), made = entry["tokens"], entry["finish"] != "error" or any(entry["tokens"])
        count(entry, made, read, written, Price(*entry["price"]).of(read, written), entry["estimated"])
    for entry in unsure(journal, answered):
        count(entry, 0, 0, 0, 0, 0, 1, Price(*entry["price"]).of(*entry["tokens"]))
    return {
        step: Spent(int(row[0]), int(row[1]), int(row[2]), row[3], int(row[4]), int(row[5]), row[6])
        for step, row in sums.items()
    }


def unsure(journal: Journal, answered: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the tries of which nobody can say whether they were paid, beside what was answered."""
    ended = journal.under("ended:")
    found = [*journal.under("lost:").values()]
    for name, entry in journal.under("sent:").items():
        _, key, session = name.split(":")
        reply = answered.get(f"request:{key}")
        over = f"ended:{key}:{session}" in ended or (reply is not None and reply["session"] == session)
        if not over:
            found.append(entry)
    return found


class Ledger:
    """What of a budget is spent, and what is held for requests on their way.

    Args:
        budget: None for no bound.
        price: of the requests to come.
        journal: what was spent before.
    """

    def __init__(self, budget: Budget | None, price: Price, journal: Journal) -> None:
        self.budget = budget
        self.price = price
        self.used = 0.0
        self.held: dict[str, float] = {}
        if budget is not None:
            answered = journal.under("request:")
            for entry in (*answered.values(), *unsure(journal, answered)):
                self.used += budget.cost(Price(*entry["price"]), *entry["tokens"])

    def hold(self, key: str, read: int, written: int) -> bool:
        """Hold the most that a request can cost; say whether there is enough."""
        cost = self._cost(read, written)
        if self.budget and self.used + sum(self.held.values()) + cost > self.budget.amount:
            return False
        self.held[key] = cost
        return True

    def settle(self, key: str, read: int, written: int) -> None:
        """Take what a request has cost, and free what was held for it."""
        self.held.pop(key, None)
        self.used += self._cost(read, written)

    def lose(self, read: int, written: int) -> None:
        """Take the most that a try can have cost, while its request goes on."""
        self.used += self._cost(read, written)

    def refusal(self, read: int, written: int) -> str:
        """Return in a sentence why a request is not sent."""
        budget = self.budget or Budget(0.0, TOKENS)
        cost = self._cost(read, written)
        return (
            f"The budget of {budget.shown(budget.amount)} is used up: {budget.shown(self.used)} are spent, "
            f"and the next request may cost {budget.shown(cost)}."
        )

    def _cost(self, read: int, written: int) -> float:
        return self.budget.cost(self.price, read, written) if self.budget else 0.0
