"""Gates: what has to be the same before ways of decoding are compared.

Each gate decodes a user's own rows in two ways that must give the same tokens, and returns where they do not.
In fp32 any difference is a fault. In bf16 rounding depends on the shape of a batch, so that two tokens which
are nearly as likely may change places; see docs/decisions/bf16.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from espalier.decode.batch import tokens_of
from espalier.decode.draws import Draw
from espalier.decode.engine import TOKENS, can_share, decode_tokens
from espalier.decode.requests import groups_of, requests_of
from espalier.decode.stepping import rows_by_steps
from espalier.decode.strategies.beam import beam
from espalier.decode.strategies.sampling import greedy, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from transformers import PreTrainedModel

    from espalier.core.records import Example
    from espalier.decode.batch import Token
    from espalier.decode.requests import Request
    from espalier.decode.strategy import Strategy
    from espalier.encode.template import Template

    # Tokens of the answer to each request, by its place.
    Written: TypeAlias = Mapping[int, Sequence[Token]]

ROWS = 32  # of the batch that is compared with rows one by one


@dataclass(frozen=True, slots=True)
class Difference:
    """An answer that came out otherwise.

    Attributes:
        example: whose answer it is.
        place: of the first token that differs, from 0.
        wanted: the tokens from there on, of the way that is trusted; maybe none.
        found: those of the other way.
    """

    example: str
    place: int
    wanted: tuple[int, ...]
    found: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the gates compare on: a model that decodes, and prompts.

    Attributes:
        model: in the number format to decode in, in evaluation mode.
        template: of its tokenizer.
        examples: whose prompts are answered, the same one once.
        limit: most tokens of an answer.
    """

    model: PreTrainedModel
    template: Template
    examples: Sequence[Example]
    limit: int = 32

    def requests(self) -> list[Request]:
        """Return the distinct prompts. Raises GenerationError for one without tokens."""
        return requests_of(self.template, self.examples, greedy(limit=self.limit), "")

    def written(self, strategy: Strategy, *, rows: int = ROWS) -> Written:
        """Return what is written in batches of at most so many rows."""
        requests = self.requests()
        places = {request.key: place for place, request in enumerate(requests)}
        shared = can_share(self.model, requests, strategy)
        stops = self.template.stop_ids
        found: dict[int, list[Token]] = {place: [] for place in places.values()}
        for group in groups_of(requests, self.limit, TOKENS, rows=strategy.rows):
            for start in range(0, len(group), rows):
                some = group[start : start + rows]
                for token in decode_tokens(self.model, some, strategy, stops, shared=shared):
                    found[places[some[token.row].key]].append(token)
        return found


def beam_of_one(asked: Asked) -> list[Difference]:
    """A beam search of one beam is greedy decoding."""
    return _compared(asked, _greedy(asked), asked.written(beam(beams=1, limit=asked.limit)))


def top_k_of_one(asked: Asked) -> list[Difference]:
    """Drawing from the likeliest token alone is greedy decoding, but between exact equals."""
    found = asked.written(sample(limit=asked.limit, draw=Draw(top_k=1)))
    return _compared(asked, _greedy(asked), found, equals=True)


def min_p_of_one(asked: Asked) -> list[Difference]:
    """Drawing from what is as likely as the likeliest is greedy decoding, but between exact equals."""
    found = asked.written(sample(limit=asked.limit, draw=Draw(min_p=1.0)))
    return _compared(asked, _greedy(asked), found, equals=True)


def batch_of_one(asked: Asked) -> list[Difference]:
    """Rows of a batch are answered as each of them is alone."""
    return _compared(asked, asked.written(greedy(limit=asked.limit), rows=1), _greedy(asked))


def cached(asked: Asked) -> list[Difference]:
    """What is kept of earlier tokens gives what computing all of a row anew for each token gives."""
    strategy, stops = greedy(limit=asked.limit), asked.template.stop_ids
    rows = [strategy.begin(number, one, stops) for number, one in enumerate(asked.requests())]
    whole = rows_by_steps(asked.model, rows, strategy, cached=False)
    return _compared(asked, {ended[0].number: tokens_of(strategy, ended) for ended in whole}, _greedy(asked))


GATES: Mapping[str, Callable[[Asked], list[Difference]]] = {
    "beam 1 = greedy": beam_of_one,
    "top_k 1 = greedy": top_k_of_one,
    "min_p 1 = greedy": min_p_of_one,
    f"batch 1 = batch {ROWS}": batch_of_one,
    "cached = uncached": cached,
}


def _greedy(asked: Asked) -> Written:
    return asked.written(greedy(limit=asked.limit))


def _compared(asked: Asked, wanted: Written, found: Written, *, equals: bool = False) -> list[Difference]:
    """Return where answers differ; with `equals`, not where the tokens are exactly as likely."""
    differences: list[Difference] = []
    for number, request in enumerate(asked.requests()):
        ours, theirs = found[number], wanted[number]
        shorter = min(len(ours), len(theirs))
        place = next((n for n in range(shorter) if ours[n].id != theirs[n].id), shorter)
        same = place == len(ours) == len(theirs)
        if same or (equals and place < shorter and ours[place].logprob == theirs[place].logprob):
            continue
        ends = [tuple(token.id for token in tokens[place:]) for tokens in (theirs, ours)]
        differences.append(Difference(request.examples[0], place, *ends))
    return differences
