"""What several rooms' tests need: the real data, a tiny model with a byte tokenizer, processes at once."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import re
import runpy
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings

from espalier.core.records import Encoded
from espalier.core.runtime import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from espalier.encode.template import Template
    from espalier.encode.tokens import Unit
    from espalier.train.objectives import Objective, Resources
    from espalier.train.steps import Source

os.environ["HF_HUB_OFFLINE"] = "1"
# How long an example takes is the machine's, and no fault of what is tested; and a suite that is run often
# tries other examples each time.
settings.register_profile("any machine", deadline=None, max_examples=50)
settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parent.parent


# Processes are forked from one that has imported what takes seconds, and nothing that looks at its terminal.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "espalier.runs.execute",
        "espalier.train.loop",
        "espalier.train.preference",
        "espalier.train.reinforcement",
        "espalier.decode.local",
        "espalier.evaluate.rewards",
        "torch.distributed.fsdp",
        "torch.distributed.run",
        "transformers.models.llama.modeling_llama",
        "typer",
    ]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what waits for other processes.

    One worker takes these then, while the others have the processors; only that one needs a server to fork
    from; and none of them is left for the end, when there is nothing else to do meanwhile.
    """
    waiting = {"forked", "espalier_process", "served"}
    items.sort(key=lambda item: waiting.isdisjoint(getattr(item, "fixturenames", ())))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage in what the tests make only: what is imported stays, and is a million objects.

    And look seldom: a run makes objects by the hundred thousand, most of which stay until its end.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(5_000, 20, 50)
        gc.enable()


class Forked:
    """`python COMMAND` as `subprocess.Popen` starts it, but within milliseconds; warnings are errors.

    The command is a file or ("-m", MODULE), and its arguments. Streams that are not given as descriptors are
    pipes of text; with a descriptor for 0 it is a session of its own at that terminal.
    """

    def __init__(
        self, *command: object, cwd: Path | None = None, streams: dict[int, int] | None = None, **env: str
    ) -> None:
        pipes = {number: os.pipe() for number in (1, 2) if number not in (streams or {})}
        self.stdout, self.stderr = (os.fdopen(pipes[n][0]) if n in pipes else None for n in (1, 2))
        theirs = {number: os.dup(end) for number, end in (streams or {}).items()}
        theirs |= {number: end for number, (_, end) in pipes.items()}
        connections = {number: Connection(end, readable=False) for number, end in theirs.items()}
        told = {
            "COMMAND": [*map(str, command)],
            "FOLDER": str(cwd or Path.cwd()),
            "ENVIRONMENT": {**os.environ, "OMP_NUM_THREADS": "1", **env},
            "STREAMS": connections,
        }
        program = (str(ROOT / "tests" / "forked.py"), told, "__forked__")
        self._process = SERVER.Process(target=runpy.run_path, args=program)
        with mock.patch.dict(os.environ, {**ENVIRONMENT, "OMP_NUM_THREADS": "1"}):
            self._process.start()
        for connection in connections.values():
            connection.close()
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"still running after {timeout} s"
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return all that it says until its end."""
        with ThreadPoolExecutor(2) as threads:
            said = [threads.submit(_read, stream) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            finally:
                self.kill()
            out, err = (text.result() for text in said)
        return out, err


def _read(stream: TextIO | None) -> str:
    with stream or nullcontext(StringIO()) as text:
        return text.read()


@pytest.fixture(scope="session")
def forked() -> type[Forked]:
    """Starts programs as processes; see `Forked`."""
    return Forked


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside the checkout; a test that needs it is skipped where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data (../shared/data) is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def bundled_model() -> Path:
    """The folder of the bundled model, fetched once into the user's cache; mark its tests with `model`."""
    from espalier.core.caches import default_cache
    from espalier.models.bundled import fetch

    return fetch("smollm2-135m", default_cache())


@pytest.fixture(scope="session")
def chat_tokenizer() -> Callable[[str], PreTrainedTokenizerFast]:
    """Make tokenizers with one of `tests/chat_templates`: bytes and a few merges, each style's own tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = ["the cat sat on the mat", "How long did the meeting last?", "It lasted two hours.\n"]

    @functools.cache
    def make(style: str) -> PreTrainedTokenizerFast:
        template = (ROOT / "tests" / "chat_templates" / f"{style}.jinja").read_text()
        controls = re.findall(r"<[a-z_|0-9]+>|</s>|\[/?INST\]", template.replace("<think>", ""))
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=list(dict.fromkeys(["<|endoftext|>", *controls])),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(words * 3, trainer)
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
        fast.chat_template = template
        return fast

    return make


@pytest.fixture(scope="session")
def sentencepiece() -> PreTrainedTokenizerFast:
    """A tokenizer as SentencePiece makes them, with bytes to fall back on, and Llama 2's way to ask."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [
        *"▁\n[]/INSThecatsomudrw.,0123456789",
        "▁t",
        "▁h",
        "he",
        "ou",
        "▁the",
        "▁hou",
        "rs",
        "▁hours",
        "at",
    ]
    made = Tokenizer(
        models.BPE(
            {piece: number for number, piece in enumerate(dict.fromkeys(pieces))},
            [
                tuple(pair.split())
                for pair in ["▁ t", "▁ h", "h e", "o u", "▁t he", "▁h ou", "r s", "▁hou rs", "a t"]
            ],
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.chat_template = (
        "{{ bos_token }}{% for turn in messages %}{% if turn.role == 'user' %}[INST] {{ turn.content }} "
        "[/INST]{% else %} {{ turn.content }} {{ eos_token }}{% endif %}{% endfor %}"
    )
    return fast


@pytest.fixture(scope="session")
def llama() -> Callable[..., LlamaForCausalLM]:
    """Make a random Llama with grouped-query attention and 2 layers, in fp32, with changes to its config."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(vocabulary: int, **changes: object) -> LlamaForCausalLM:
        torch.manual_seed(0)
        sizes: dict[str, object] = {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
        }
        return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **{**sizes, **changes})).eval()

    return make


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Run a test on one thread: at these sizes threads only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_llama(llama: Callable[..., LlamaForCausalLM], one_thread: None) -> LlamaForCausalLM:
    """A random Llama for `tiny_rows`: 64 tokens of vocabulary."""
    return llama(64, pad_token_id=0, bos_token_id=1, eos_token_id=2)


@pytest.fixture
def template(chat_tokenizer: Callable[[str], PreTrainedTokenizerFast]) -> Template:
    """The ChatML template with a tokenizer of bytes."""
    from espalier.encode.template import Template

    return Template(chat_tokenizer("chatml"))


@pytest.fixture
def talker(llama: Callable[..., LlamaForCausalLM]) -> LlamaForCausalLM:
    """A random Llama for `template` whose logits are far apart, and whose answers differ by prompt."""
    return llama(320, initializer_range=0.3)


@pytest.fixture
def tiny_rows() -> list[Encoded]:
    """24 rows for `tiny_llama`: two tasks with long heads of their own, and rows that share nothing."""
    rng = np.random.default_rng(0)

    def tokens(count: int) -> list[int]:
        return rng.integers(3, 64, count).tolist()

    heads = [tokens(80)] * 10 + [tokens(70)] * 9 + [[]] * 5
    rows: list[Encoded] = []
    for number, head in enumerate(heads):
        prompt = [1, *head, *tokens(int(rng.integers(2, 9)))]
        answer = [*tokens(int(rng.integers(1, 7))), 2]
        weights = (0.0,) * len(prompt) + (1.0,) * len(answer)
        rows.append(Encoded((*prompt, *answer), weights, len(prompt), f"row-{number}"))
    return rows


@pytest.fixture(scope="session")
def source_of() -> Callable[..., Source]:
    """Make the steps of a training on rows, each an example of its own, or on units."""
    from espalier.encode.batches import steps_per_epoch
    from espalier.encode.tokens import Unit
    from espalier.train.objectives import Resources
    from espalier.train.steps import steps_of

    def unused(*_: object) -> Any:
        pytest.fail("an objective asked for what it should not need")

    def make(
        rows: Sequence[Encoded | Unit],
        shared: Sequence[tuple[Objective, float]],
        *,
        size: int = 8,
        tokens: int = 10_000,
        tools: Resources | None = None,
    ) -> Source:
        units = [
            row if isinstance(row, Unit) else Unit(row.example, row.ids[: row.prompt], (row,)) for row in rows
        ]
        tools = tools or Resources(steps_per_epoch(len(units), size), unused, unused, unused, unused)
        return steps_of(units, shared, tools, size=size, tokens=tokens, seed=0)

    return make
