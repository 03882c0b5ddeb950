"""What tokens spell, joined, is the text that they were read from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from espalier.core.errors import TemplateError
from espalier.encode.spelling import SAMPLE, spelt

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = [SAMPLE, 'a {"b": [1, 2]}\n  é 東京 🙂', "the cat sat"]


def joined(tokenizer: Any, text: str) -> bytes:
    found = spelt(tokenizer)
    return b"".join(found[token] for token in tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_are_spelt(chat_tokenizer: Callable[[str], PreTrainedTokenizerFast], text: str):
    assert joined(chat_tokenizer("chatml"), text) == text.encode()
    assert not {0, 1} & spelt(chat_tokenizer("chatml")).keys()


@pytest.mark.parametrize("text", TEXTS)
def test_sentencepiece_is_spelt(sentencepiece: PreTrainedTokenizerFast, text: str):
    assert joined(sentencepiece, text) == f" {text}".encode()


def test_pieces_of_words_are_refused():
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer: Any = trainers.WordPieceTrainer(vocab_size=60, special_tokens=["<unk>"], show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    with pytest.raises(TemplateError, match="neither of bytes nor SentencePiece"):
        spelt(PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>"))


@pytest.mark.model
def test_the_bundled_tokenizer_is_spelt(bundled_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(bundled_model)
    assert [joined(tokenizer, text) for text in TEXTS] == [text.encode() for text in TEXTS]
