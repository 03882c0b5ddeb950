"""What llama.cpp makes of a GGUF file: a script by itself, run by a Python that has `llama_cpp`.

    python llama_check.py < TASK.json

The task holds "file" (the GGUF file), "out" (the result's), "prompts" (token ids), "answers" (token ids),
"texts" (the rendered prompts) and "limit". The result holds, for each prompt N, "logits-N" [A, V],
"written-N" (ids) and "tokens-N" (the ids of its text).
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

import numpy as np


def examine(model: Any, prompt: list[int], answer: list[int], limit: int) -> tuple[np.ndarray, list[int]]:
    """Return the logits [A, V] of the answer's A tokens, and what the model writes greedily, [<= limit]."""
    model.reset()
    model.eval([*prompt, *answer[:-1]])
    logits = np.array(model.scores[len(prompt) - 1 : len(prompt) + len(answer) - 1], np.float32)
    model.reset()
    model.eval(prompt)
    written: list[int] = []
    while len(written) < limit:
        written.append(int(np.argmax(model.scores[model.n_tokens - 1])))
        if ends(model, written[-1]):
            break
        model.eval(written[-1:])
    return logits, written


def ends(model: Any, token: int) -> bool:
    """Say whether the file makes a token one that ends an answer."""
    llama_cpp: Any = import_module("llama_cpp")
    return bool(llama_cpp.llama_vocab_is_eog(llama_cpp.llama_model_get_vocab(model.model), token))


def main() -> None:
    """Run the task of standard input."""
    task = json.load(sys.stdin)
    longest = max(map(len, task["prompts"])) + max(task["limit"], *map(len, task["answers"])) + 1
    model = import_module("llama_cpp").Llama(
        task["file"], n_ctx=longest, n_batch=longest, logits_all=True, verbose=False
    )
    found: dict[str, Any] = {}
    for number, prompt in enumerate(task["prompts"]):
        logits, written = examine(model, prompt, task["answers"][number], task["limit"])
        text = task["texts"][number].encode()
        found[f"tokens-{number}"] = model.tokenize(text, add_bos=False, special=True)
        found[f"logits-{number}"], found[f"written-{number}"] = logits, written
    np.savez(task["out"], **found)


if __name__ == "__main__":
    main()
