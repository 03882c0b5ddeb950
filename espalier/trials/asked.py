"""What lm-eval asks of a model, answered along prompt trees: how likely texts are, and what follows them.

The tokens are those that its own Hugging Face backend would take (`HFLM`): spaces at a context's end go to
the continuation, an empty context is the token that begins texts, and what is too long loses its beginning.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espalier.core.files import content_hash
from espalier.core.records import Completion, Encoded
from espalier.decode.draws import Draw
from espalier.decode.engine import TOKENS, can_share, decode_tokens
from espalier.decode.likelihood import told
from espalier.decode.requests import Request, before, groups_of, request_key
from espalier.decode.strategies.sampling import greedy
from espalier.runs.events import bar

if TYPE_CHECKING:
    from espalier.core.journal import Journal
    from espalier.decode.local import Local

NEW = 256  # tokens of an answer whose task does not say, as lm-eval has it


@dataclass(frozen=True)
class Asked:
    """A model that lm-eval asks; what it was asked before is in the store, or in the model's journal."""

    local: Local
    store: Journal

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Return of each (context, continuation) its log-probability, and whether greedy would say it."""
        pairs = [self._pair(*map(str, request.args[:2])) for request in requests]
        return self._weighed([self._row(*pair) for pair in pairs])

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Return the log-probability of each whole text, in windows of the model's context."""
        windows = importlib.import_module("lm_eval.utils")
        rows: list[Encoded] = []
        counts: list[int] = []
        for request in requests:
            found = windows.get_rolling_token_windows(
                token_list=self._ids(str(request.args[0])),
                prefix_token=self._first,
                max_seq_len=self.local.template.context,
                context_len=1,
            )
            pairs = [windows.make_disjoint_window(pair) for pair in found]
            rows += [self._row(list(one), list(two)) for one, two in pairs]
            counts.append(len(pairs))
        weighed = iter(self._weighed(rows))
        return [sum(next(weighed)[0] for _ in range(count)) for count in counts]

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return the text that is written behind each context, up to the first of its stop strings."""
        asked = [self._request(str(request.args[0]), request.args[1]) for request in requests]
        journal, model, template = self.local.journal, self.local.writer, self.local.template
        if journal is not None:
            journal.fetch(one.key for one in asked)
        done = dict(journal.done) if journal is not None else {}
        pending = list({one.key: one for one in asked if one.key not in done}.values())
        strategy = greedy(limit=NEW)
        with bar("Answers for lm-eval", len(pending)) as advance:
            for group in groups_of(pending, NEW, TOKENS):
                ids: list[list[int]] = [[] for _ in group]
                shared = can_share(model, group, strategy)
                stops = template.stop_ids
                for token in decode_tokens(
                    model, group, strategy, stops, shared=shared, text=template.decode
                ):
                    ids[token.row].append(token.id)
                    if token.finish is None:
                        continue
                    one, answer = group[token.row], tuple(ids[token.row])
                    said = answer[:-1] if answer[-1] in stops else answer
                    text = before(template.decode(said), one.stops)
                    done[one.key] = Completion("", text, answer, finish=token.finish, request=one.key)
                    if journal is not None:
                        journal.append(done[one.key])
                    advance(1, "")
        if journal is not None and pending:
            journal.share(one.key for one in pending)
        return [done[one.key].text for one in asked]

    def chat(self, history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """Return turns as the model's chat template writes them."""
        return self._tokenizer.apply_chat_template(
            list(history),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **self.local.template.rendering.arguments,
        )

    @property
    def _tokenizer(self) -> Any:
        return self.local.loaded.tokenizer

    @property
    def _first(self) -> int:
        begin = self._tokenizer.bos_token_id
        return int(self._tokenizer.eos_token_id if begin is None else begin)

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        if not context:
            return [self._first], self._ids(continuation)
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, continuation = context[:-spaces], context[-spaces:] + continuation
        known, whole = self._ids(context), self._ids(context + continuation)
        return known, whole[len(known) :]

    def _row(self, known: list[int], said: list[int]) -> Encoded:
        ids = [*known, *said][-self.local.template.context - 1 :]
        prompt = max(1, len(ids) - len(said))
        weights = (0.0,) * prompt + (1.0,) * (len(ids) - prompt)
        return Encoded(tuple(ids), weights, prompt, "")

    def _weighed(self, rows: Sequence[Encoded]) -> list[tuple[float, bool]]:
        loaded = self.local.loaded
        made = f"{loaded.weights}/{loaded.model.dtype}/{loaded.formats.training}"
        keys = [f"likelihood:{content_hash([made, row.ids, row.prompt])}" for row in rows]
        known = self.store.find(keys)
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in known}
        found = dict(zip(new, told(loaded, list(new.values())), strict=True))
        self.store.add({key: {"logprob": one, "greedy": best} for key, (one, best) in found.items()})
        held = {key: (float(entry["logprob"]), bool(entry["greedy"])) for key, entry in known.items()}
        return [(held | found)[key] for key in keys]

    def _request(self, context: str, settings: Mapping[str, Any]) -> Request:
        until = settings.get("until") or ()
        stops = tuple(stop for stop in ([until] if isinstance(until, str) else until) if stop)
        limit = int(settings.get("max_gen_toks", settings.get("max_new_tokens", NEW)))
        heat = float(settings.get("temperature") or 0.0) if settings.get("do_sample", True) else 0.0
        draw = Draw(heat, float(settings.get("top_p", 1.0)))
        template = self.local.template
        limit = min(limit, template.context - 1)
        prompt = tuple(self._ids(context)[-(template.context - limit) :]) or (self._first,)
        told = {"kind": "lm-eval", "limit": limit, "until": stops, "heat": heat, "top_p": draw.top_p}
        weights = f"{self.local.loaded.weights}/{self.local.writer.dtype}"
        key = request_key(weights, template.hash, told, prompt, 0)
        return Request(key, prompt, 0, ("",), limit=limit, stops=stops, draw=draw if heat else None)


def lm_of(local: Local, store: Journal) -> Any:
    """Return a model as lm-eval asks it: it wants a class of its own, which is made here of functions."""
    asked = Asked(local, store)
    methods = {
        "loglikelihood": lambda _, requests: asked.loglikelihood(requests),
        "loglikelihood_rolling": lambda _, requests: asked.loglikelihood_rolling(requests),
        "generate_until": lambda _, requests: asked.generate_until(requests),
        "apply_chat_template": lambda _, history, add_generation_prompt=True: asked.chat(
            history, add_generation_prompt
        ),
        "chat_template": lambda _, chat_template=False: local.loaded.tokenizer.chat_template or "",
        "tokenizer_name": property(lambda _: local.loaded.weights.replace("/", "__")),
        "max_length": property(lambda _: local.template.context),
    }
    return type("EspalierLM", (importlib.import_module("lm_eval.api.model").LM,), methods)()
