"""What belongs together because it has something in common, directly or by way of others (union–find)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def joined(groups: Iterable[Sequence[str]]) -> dict[str, str]:
    """Return for each name in the groups the least of those that it is joined with; alone it is itself.

    What is least does not depend on the order of groups.
    """
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above[name] != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    for group in groups:
        for name in group:
            above.setdefault(name, name)
            one, other = sorted((top(group[0]), top(name)))
            above[other] = one
    return {name: top(name) for name in above}
