"""The answers that a model learns from: sampled by the decoder from its weights as they are, and rewarded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from espalier.core.records import ALONE, Completion, Ranks
from espalier.decode.draws import Draw
from espalier.decode.engine import TOKENS, can_share, decode_tokens
from espalier.decode.ready import ready_to_decode, to_decode
from espalier.decode.requests import Request, groups_of
from espalier.decode.strategies.sampling import sample
from espalier.evaluate.rewards import reward_of, rewarded
from espalier.models.outline import filled, outline
from espalier.train.objectives import Sampled
from espalier.train.parallel import gathered, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from transformers import PreTrainedModel

    from espalier.core.records import Example, Finish, Scorer
    from espalier.encode.template import Template
    from espalier.encode.tokens import Unit
    from espalier.models.precision import Format
    from espalier.train.objectives import Sampler

    # An answer's tokens, their log-probabilities in nats, and why it ends.
    Written: TypeAlias = tuple[tuple[int, ...], tuple[float, ...], Finish]
    # From names of rewards to those that are models.
    Raters: TypeAlias = Callable[[Iterable[str]], Mapping[str, Scorer]]
    # From examples and answers to what each reward says of each, and their sums.
    Judge: TypeAlias = Callable[
        [Sequence[Example], Sequence[Completion]], tuple[list[dict[str, float | None]], list[float]]
    ]


@dataclass(frozen=True)
class Answering:
    """How a stage's model answers while it learns.

    Attributes:
        model: the one that is trained.
        template: of its tokenizer.
        examples: by their ids.
        precision: of decoding.
        seed: of the draws.
        raters: loads the reward models among the names of rewards.
        ranks: that share the writing.
    """

    model: PreTrainedModel
    template: Template
    examples: Mapping[str, Example]
    precision: Format
    seed: int
    raters: Raters = lambda _: {}
    ranks: Ranks = ALONE

    def sampler(self, rewards: Mapping[str, float]) -> Sampler:
        """Return the sampler whose answers these rewards judge. Raises RecipeError for an unknown reward.

        It belongs before the ranks share out the weights, if they do.
        """
        where, models = "train.objective.rewards", self.raters(rewards)
        for name in rewards:
            reward_of(name, where, models)
        judge = partial(rewarded, rewards, where=where, raters=models)
        decoder = decoder_of(self.model, self.precision, self.ranks)

        def answer(turn: int, units: Sequence[Unit], samples: int, limit: int) -> list[list[Sampled]]:
            return self._round(decoder(), turn, units, samples, limit, judge)

        return answer

    def _round(
        self,
        decoder: PreTrainedModel,
        turn: int,
        units: Sequence[Unit],
        samples: int,
        limit: int,
        judge: Judge,
    ) -> list[list[Sampled]]:

        requests = [
            Request(f"{turn}/{unit.example}/{number}", unit.prompt, number, (unit.example,))
            for unit in units
            for number in range(samples)
        ]
        share = -(-len(requests) // self.ranks.size)
        own = requests[self.ranks.rank * share : (self.ranks.rank + 1) * share]
        written: dict[str, Written] = {}
        for part in gathered(self._written(decoder, own, limit), self.ranks):
            written |= part
        answers: list[Completion] = []
        for request in requests:
            ids, _, finish = written[request.key]
            text = self.template.decode(ids[:-1] if finish == "stop" else ids)
            answers.append(Completion(request.examples[0], text, ids, request.sample, finish=finish))
        examples = [self.examples[answer.example] for answer in answers]
        judged, sums = judge(examples, answers)
        flat = [
            Sampled(answer.ids, written[request.key][1], answer.text, answer.finish, parts, total)
            for request, answer, parts, total in zip(requests, answers, judged, sums, strict=True)
        ]
        return [flat[start : start + samples] for start in range(0, len(flat), samples)]

    def _written(
        self, decoder: PreTrainedModel, requests: Sequence[Request], limit: int
    ) -> dict[str, Written]:
        """Return the answer to each request by its key."""
        if not requests:  # there are more ranks than answers to write
            return {}
        strategy = sample(limit=limit, draw=Draw(seed=self.seed))
        shared = can_share(decoder, requests, strategy)
        found: dict[str, Written] = {}
        for group in groups_of(requests, limit, TOKENS):
            ids: list[list[int]] = [[] for _ in group]
            logprobs: list[list[float]] = [[] for _ in group]
            for token in decode_tokens(decoder, group, strategy, self.template.stop_ids, shared=shared):
                ids[token.row].append(token.id)
                logprobs[token.row].append(token.logprob)
                if token.finish:
                    done = tuple(ids[token.row]), tuple(logprobs[token.row]), token.finish
                    found[group[token.row].key] = done
        return found


def decoder_of(model: PreTrainedModel, precision: Format, ranks: Ranks) -> Callable[[], PreTrainedModel]:
    """Return what makes a copy for decoding of the model as it then is; every rank has to call that.

    It belongs before the ranks share out the weights: each rank then gathers all of them for a copy.
    """
    if not ranks.sharded:
        return partial(to_decode, model, precision)
    empty = outline(model)

    def gather() -> PreTrainedModel:
        weights = (whole(weight.detach()) for weight in model.parameters())
        return ready_to_decode(filled(empty, weights), precision)

    return gather
