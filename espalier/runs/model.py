"""A model as a program has it: it answers, streams, and says how likely answers are, along prompt trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from espalier.core.errors import DataError
from espalier.core.recipe import Choice, ModelSection
from espalier.core.records import Example, Message, message
from espalier.data.asking import Asking
from espalier.data.inputs import media_given, turn_of_parts, with_media
from espalier.decode.local import local_of
from espalier.models.allocator import tune_allocator
from espalier.models.precision import choose, measure
from espalier.runs.answers import check_media
from espalier.runs.load import load_run, load_writer
from espalier.runs.precision import of_run
from espalier.runs.run import Run
from espalier.runs.talkers import Sampling, find_talker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from espalier.core.recipe import Precision
    from espalier.core.records import Completion
    from espalier.decode.local import Local
    from espalier.encode.template import Template
    from espalier.formats.placing import Given

    # A text, or turns as records or as {"role", "content"}, whose content is a text or parts.
    Prompt: TypeAlias = str | Sequence[Message | Mapping[str, Any]]

PLAINLY = Asking()
GREEDY = Choice(kind="greedy")


@dataclass(frozen=True)
class Model:
    """A causal language model with its chat template, ready to be asked.

    Attributes:
        name: what it was loaded by.
        local: what answers: its weights with their number formats, and a copy that writes.
        asking: what stands around a text; nothing, but for a run's model, which is asked as it was trained.
    """

    name: str
    local: Local
    asking: Asking = PLAINLY

    @property
    def template(self) -> Template:
        """Its chat template."""
        return self.local.template

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        limit: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        samples: int = 1,
        seed: int = 0,
        decode: Mapping[str, Any] | None = None,
        images: object = (),
        audios: object = (),
    ) -> list[Completion]:
        """Return the answers to prompts, in their order; what the prompts share is computed once.

        Args:
            prompts: one prompt or several: each a text, or turns ({"role", "content"}); a content may be
                parts: {"type": "text", "text"}, {"type": "image", "image"}, {"type": "audio", "audio"}.
            limit: most new tokens of an answer.
            temperature: 0 takes the likeliest token each time; above that tokens are drawn.
            top_p: the share of probability that is drawn from.
            samples: answers to each prompt, one behind the other.
            seed: of the draws.
            decode: a strategy by its `kind` with its settings, as a recipe's [decode] names it, in place of
                temperature, top_p, samples and seed.
            images: a picture or several that each text is about: paths, URLs, bytes, or pictures in memory.
                They stand where the text has `<image>`, or before it, and are computed once for all texts.
            audios: sounds, alike.

        Raises:
            DataError: a prompt and its answer do not fit into the model's context, or a medium cannot be
                found, or the model takes none.
            RecipeError, RunError: a number that does not fit, or several samples of temperature 0.
        """
        settings = Sampling(limit, temperature, top_p, seed, samples).over(GREEDY)
        if decode is not None:
            settings = Choice.model_validate({"limit": limit, **decode})
        examples = self._examples(_several(prompts), media_given(images, audios, "images and audios"))
        for example in examples:
            check_media(example.media, self.template)
        found = self.local.generate(examples, settings)
        return sorted(found, key=lambda answer: (int(answer.example), answer.sample))

    def stream(
        self, prompt: Prompt, *, limit: int = 256, temperature: float = 0.0, seed: int = 0
    ) -> Iterator[str]:
        """Yield the answer to one prompt in pieces, as it is written; arguments as in `generate`."""
        settings = Sampling(limit, temperature, 1.0, seed).over(GREEDY)
        return (piece for piece, _ in self.local.stream(self._prompt(prompt), settings))

    def logprobs(
        self, prompts: Prompt | Sequence[Prompt], options: Sequence[str] | Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return how likely each option is as the answer to each prompt: its log-probability in nats.

        A prompt is computed once for all of its options, and what prompts share once for all. The tokens that
        end an answer count.

        Args:
            prompts: as in `generate`.
            options: the same for all prompts, or a list for each.

        Returns:
            A list for each prompt, in the order of its options.
        """
        asked = _several(prompts)
        given = [list(option) for option in options if not isinstance(option, str)]
        table = given or [[option for option in options if isinstance(option, str)]] * len(asked)
        if len(table) != len(asked) or not all(table):
            raise DataError(
                f"There are options for {len(table)} prompts, and {len(asked)} prompts.",
                hint="Give one list of texts for all prompts, or one that is not empty for each.",
            )
        return self.local.logprobs(self._examples(asked), table)

    def _prompt(self, prompt: Prompt, given: Given | None = None) -> tuple[Message, ...]:
        if isinstance(prompt, str):
            return with_media(self.asking.prompt(prompt), given)
        turns = tuple(_turn(turn) for turn in prompt)
        return self.asking.around((*turns[:-1], *with_media(turns[-1:], given)))

    def _examples(self, prompts: Sequence[Prompt], given: Given | None = None) -> list[Example]:
        empty = message("assistant", "", trained=True)  # where the answer will be
        return [
            Example(str(number), self.name, str(number), (*self._prompt(prompt, given), empty))
            for number, prompt in enumerate(prompts)
        ]

    def __repr__(self) -> str:
        """Return its name and size."""
        loaded = self.local.loaded
        size = sum(weight.numel() for weight in loaded.model.parameters())
        return f"Model({self.name!r}, {size:,} weights, {loaded.formats.decoding})"


def load(
    name: str | Path | Run, cache: Path, *, device: str = "auto", precision: Precision = "auto"
) -> Model:
    """Load a model: a bundled name, a folder, a hub id, a run or its folder.

    A run's model is asked as it was trained: under its system turn, behind its task.

    Args:
        name: of the model.
        cache: folder of converted models.
        device: as `model.device` of a recipe; of a run its own is taken.
        precision: as `model.precision`; of a run its own is taken.

    Raises:
        ModelError: there is no such model, it cannot be loaded, or it rates answers.
        RunError: the run has no model, or one that rates answers.
    """
    talker = find_talker(str(name.path if isinstance(name, Run) else name))
    if talker.run is not None:
        tune_allocator()
        loaded = of_run(talker.run, load_run(talker.run, cache), "decoding")
        return Model(talker.name, local_of(loaded), talker.asking)
    loaded = load_writer(ModelSection(name=talker.name, device=device), cache)
    rates = measure(loaded.model) if precision == "auto" else {}
    formats = choose(precision, rates, loaded.model.device)
    return Model(talker.name, local_of(replace(loaded, formats=formats)))


def _several(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """Return one prompt as a list of one. Raises DataError where there is none."""
    if isinstance(prompts, str):
        return [prompts]
    found = list(prompts)
    if not found:
        raise DataError("There is no prompt.", hint='Give a text, turns, or a list of them: ["…"].')
    if all(isinstance(part, Message | Mapping) for part in found):
        return [cast("Prompt", found)]
    return cast("list[Prompt]", found)


def _turn(turn: Message | Mapping[str, Any]) -> Message:
    match turn:
        case Message():
            return replace(turn, trained=False)
        case {"role": "system" | "user" | "assistant" | "tool" as role, "content": str(content)}:
            return message(role, content)
        case {"role": "user" | "tool", "content": [*_]}:
            return turn_of_parts(turn, "a turn's content")
        case _:
            raise DataError(f"This is no turn: {turn!r}.", hint='Write {"role": "user", "content": "…"}.')
