"""Whether a model computes what its rows share once: asked of a loaded model once, for rows of any length."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from espalier.models.support import unsupported

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Sharing:
    """What is known of a model's sharing; the model is tried when the first asks, and not again."""

    model: PreTrainedModel
    _found: dict[tuple[bool, bool], str | None] = field(
        default_factory=dict[tuple[bool, bool], "str | None"], repr=False, compare=False
    )

    def why_not(self, longest: int, *, training: bool = False) -> str | None:
        """Return why rows of up to `longest` tokens are computed one by one; None where they share prefixes.

        Args:
            longest: tokens. All that they decide is whether a sliding window hides any.
            training: whether the model is to train on the rows, see `unsupported`.

        Raises:
            ModelError: it is to train, and its code does not do that on such rows.
        """
        window = self.model.config.get_text_config().to_dict().get("sliding_window")
        case = (window is not None and longest > window, training)
        if case not in self._found:
            self._found[case] = unsupported(self.model, longest, training=training)
        return self._found[case]
