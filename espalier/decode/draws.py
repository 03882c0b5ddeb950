"""How a token is drawn, and what is held against tokens before: the settings, which need no torch.

Every strategy that draws takes all of them: its factory has a parameter `draw`, which is spread.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from espalier.decode.strategy import require


@dataclass(frozen=True, slots=True)
class Penalties:
    """What is held against a token before one is chosen; false where nothing is.

    Attributes:
        repetition_penalty: the score of a token that is in the prompt or the answer is divided by it where
            it is above 0, and else multiplied (Keskar et al. 2019, arXiv 1909.05858).
        presence_penalty: taken from the score of a token that is in the answer.
        frequency_penalty: taken from it for each time that it is there.
        no_repeat: no run of so many tokens comes twice in prompt and answer; 0 lets them.

    Raises:
        RecipeError: a number that does not fit.
    """

    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat: int = 0

    def __post_init__(self) -> None:
        penalty = self.repetition_penalty
        require(penalty > 0, "repetition_penalty", "must be above 0 (1 is none)", penalty)
        require(self.no_repeat >= 0, "no_repeat", "must not be below 0 (0 is none)", self.no_repeat)

    def __bool__(self) -> bool:
        return self != NONE

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from none, for the keys of generations."""
        return {name: value for name, value in asdict(self).items() if value != getattr(NONE, name)}


NONE = Penalties()


@dataclass(frozen=True, slots=True)
class Draw:
    """How a token is drawn; at temperature 0 the likeliest is taken.

    Penalties come first, then temperature, then what cuts, in the order top_k, top_p, min_p, typical,
    epsilon, eta, each on what the one before leaves: the distribution is that of transformers' `generate`.

    Attributes:
        temperature: logits are divided by it.
        top_p: the smallest set of likeliest tokens with at least this probability, the nucleus
            (Holtzman et al. 2020, arXiv 1904.09751).
        seed: of the draws.
        top_k: so many likeliest tokens (Fan et al. 2018, arXiv 1805.04833); 0 takes all.
        min_p: tokens of at least this share of the likeliest one's probability (Nguyen et al. 2024,
            arXiv 2407.01082).
        typical: tokens whose information is nearest to the entropy, until they have this probability
            (Meister et al. 2023, arXiv 2202.00666).
        epsilon: tokens of at least this probability (Hewitt et al. 2022, arXiv 2210.15191).
        eta: the same, of less where the entropy is high (ibid.).
        penalties: what is held against tokens before.

    Raises:
        RecipeError: a number that does not fit.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    top_k: int = 0
    min_p: float = 0.0
    typical: float = 1.0
    epsilon: float = 0.0
    eta: float = 0.0
    penalties: Penalties = NONE

    def __post_init__(self) -> None:
        require(self.temperature >= 0, "temperature", "must not be below 0", self.temperature)
        require(self.top_k >= 0, "top_k", "must not be below 0 (0 is all)", self.top_k)
        require(0 <= self.min_p <= 1, "min_p", "must be from 0 to 1", self.min_p)
        for key, value in (("top_p", self.top_p), ("typical", self.typical)):
            require(0 < value <= 1, key, "must be above 0 and at most 1", value)
        for key, value in (("epsilon", self.epsilon), ("eta", self.eta)):
            require(0 <= value < 1, key, "must be from 0 to below 1", value)

    @property
    def settings(self) -> dict[str, Any]:
        """What beside temperature, nucleus and seed differs from the usual, for the keys of generations."""
        own = {key: getattr(self, key) for key in ("top_k", "min_p", "typical", "epsilon", "eta")}
        changed = {key: value for key, value in own.items() if value != getattr(USUAL, key)}
        return {**changed, **self.penalties.settings}


USUAL = Draw()
