"""llama.cpp's end of `decoding.py`: reads prompts as JSON lines, answers greedily one after the other.

Run by the Python that has llama_cpp: `python llama.py MODEL.gguf THREADS`. Its `generate` keeps what a prompt
has in common with the one before, so that the shared prefix is computed once here too.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main(gguf: str, threads: int) -> None:
    from llama_cpp import Llama

    llama: Any = Llama(
        gguf, n_ctx=2048, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False
    )
    for line in sys.stdin:
        asked = json.loads(line)
        answers: list[list[int]] = []
        for prompt in asked["prompts"]:
            answer: list[int] = []
            for token in llama.generate(prompt, temp=0.0, repeat_penalty=1.0):
                answer.append(token)
                if token in asked["stops"] or len(answer) == asked["limit"]:
                    break
            answers.append(answer)
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
