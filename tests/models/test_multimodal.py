"""Models that see or hear by themselves: what transformers' own code says, and one tree for all questions."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoModelForMultimodalLM, AutoTokenizer

from espalier.core.errors import ModelError, TemplateError
from espalier.core.records import Encoded, Example, Media, Message, Text, message
from espalier.decode.engine import generate
from espalier.decode.strategies.sampling import greedy
from espalier.encode.media import FIRST
from espalier.encode.tree import build_tree, stats
from espalier.media import sounds
from espalier.models import call
from espalier.models.adapters import method_on
from espalier.models.call import call_model
from espalier.models.encoders.features import KeptFeatures
from espalier.models.folder import check_folder
from espalier.models.forward import edge_logprobs
from espalier.models.load import Loaded, load_model, load_template, load_tuned, save_tuned
from espalier.models.media import Manner, MediaEmbedding, media_embedding
from espalier.models.multimodal import own
from espalier.models.multimodal.processors import Processor
from espalier.models.support import unsupported
from tests.models.tiny_media import OTHERS, PICTURES, SOUNDS, TYPES, make_media_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from espalier.encode.tree import Tree

QUESTIONS = ("What is it?", "\n\nWhich colour <image> is <|image_pad|> it?", "Why\nnot [AUDIO] or <|AUDIO|>?")


class World:
    """A type's model in a folder, and media of several sizes."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = make_media_model(kind, folder / kind)
        self.loaded = load_model(str(self.folder))
        self.media = self._sounds(folder) if kind in SOUNDS else self._pictures(folder)

    @functools.cached_property
    def processor(self) -> Processor:
        """The type's processor."""
        return Processor(self.folder, AutoTokenizer.from_pretrained(self.folder))

    def theirs(self, turns: Sequence[Message]) -> dict[str, Any]:
        """Return what transformers' own processor makes of a conversation."""
        shown = [
            {
                "role": turn.role,
                "content": [
                    {"type": "text", "text": part.text} if isinstance(part, Text) else {"type": part.kind}
                    for part in turn.parts
                    if isinstance(part, Text | Media)
                ],
            }
            for turn in turns
        ]
        text = self.loaded.tokenizer.apply_chat_template(
            shown, tokenize=False, add_generation_prompt=turns[-1].role == "user"
        )
        files = [Path(part.uri) for turn in turns for part in turn.parts if isinstance(part, Media)]
        processor = self.processor._own
        if self.kind not in SOUNDS:
            images = [[Image.open(path) for path in files]]
            return dict(processor(text=[text], images=images, return_tensors="pt", add_special_tokens=False))
        heard = [sounds.samples(path, 16_000) for path in files]
        if self.kind == "voxtral":  # its processor renders with a tokenizer of another package alone
            return dict(self.processor._called("audio", str(text), heard[0]))
        return dict(processor(text=[text], audio=heard, sampling_rate=16_000, return_tensors="pt"))

    def rows(self, questions: Sequence[str] = QUESTIONS[:2]) -> list[Encoded]:
        """Return a row for each question on each medium."""
        return [self.row(asked(one, text)) for one in self.media for text in questions]

    def row(self, turns: Sequence[Message]) -> Encoded:
        """Return a conversation as a row."""
        found = self.loaded.template.answered(turns)
        weights = (0.0,) * found.prompt + (1.0,) * (len(found.ids) - found.prompt)
        return Encoded(found.ids, weights, found.prompt, str(hash(tuple(turns))))

    def fresh(self) -> Loaded:
        """Return the model as it was saved."""
        return load_model(str(self.folder))

    def _pictures(self, folder: Path) -> list[Media]:
        drawn = np.random.default_rng(0)
        found: list[Media] = []
        for number, (width, height) in enumerate(((40, 30), (64, 64), (30, 70))):
            path = folder / f"{self.kind}{number}.png"
            Image.fromarray(drawn.integers(1, 255, (height, width, 3), np.uint8)).save(path)
            found.append(_media("image", path))
        return found

    def _sounds(self, folder: Path) -> list[Media]:
        drawn = np.random.default_rng(0)
        found: list[Media] = []
        for number, seconds in enumerate((0.5, 0.93, 1.2)):
            path = folder / f"{self.kind}{number}.wav"
            soundfile.write(path, drawn.normal(0, 0.1, int(seconds * 8000)).astype(np.float32), 8000)
            found.append(_media("audio", path))
        return found


def _media(kind: Any, path: Path) -> Media:
    return Media(kind, str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def asked(media: Media, text: str, answer: str = "red, or so") -> tuple[Message, ...]:
    """Return a question on a medium with an answer."""
    return (Message("user", (media, Text(text))), message("assistant", answer, trained=True))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory, module_cache: Path) -> Any:
    """Return a type's world, made once."""
    folder = tmp_path_factory.mktemp("multimodal")
    return functools.cache(lambda kind: World(kind, folder))


@pytest.fixture(params=TYPES)
def world(request: pytest.FixtureRequest, worlds: Any) -> World:
    """Each type's world."""
    return worlds(request.param)


def embedding_of(model: torch.nn.Module) -> MediaEmbedding:
    """Return what takes media in a model."""
    embedding = media_embedding(model)
    assert embedding is not None
    return embedding


def doubled(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model in fp64."""
    torch.nn.Module.double(model)
    return model


def test_ids_and_logits_are_those_of_transformers_own_processor_and_model(world: World) -> None:
    soft = world.processor.soft(world.media[0].kind)
    theirs = AutoModelForMultimodalLM.from_pretrained(world.folder, dtype=torch.float32).eval()
    for media in world.media:
        turns = asked(media, "What is it?")
        inputs, row = world.theirs(turns), world.row(turns)
        same = [soft if token >= FIRST else token for token in row.ids]
        assert inputs["input_ids"][0].tolist()[: len(same)] == same
        with torch.no_grad():
            wanted = theirs(**inputs).logits[0, : len(same)]
            found = call_model(world.loaded.model, np.array([row.ids]))[0]
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_conversation_has_the_processors_ids_and_a_prompt_that_begins_it(
    data: st.DataObject, worlds: Any
) -> None:
    """Whatever stands around media, in whichever turn: text that spells a placeholder is text."""
    kinds = [*PICTURES, "qwen2_audio"]
    world: World = worlds(data.draw(st.sampled_from(kinds)))
    words = st.text(st.sampled_from("ab \n<>"), max_size=5)
    turns: list[Message] = []
    for _ in range(data.draw(st.integers(1, 2))):
        parts: list[Text | Media] = []
        for _ in range(data.draw(st.integers(1, 3))):
            parts.append(data.draw(st.sampled_from(world.media)))
            if text := data.draw(words):
                parts.append(Text(text))
        turns += [Message("user", (*parts, Text("what?"))), message("assistant", "so", trained=True)]
    template = world.loaded.template
    try:
        found = template.answered(turns)
    except TemplateError:
        return
    soft = world.processor.soft(world.media[0].kind)
    same = [soft if token >= FIRST else token for token in found.ids]
    theirs = world.theirs(turns)["input_ids"][0].tolist()
    assert theirs[: len(same)] == same
    assert template.prompt_ids(turns[:-1]) == found.ids[: found.prompt]
    shown = [part for turn in turns for part in turn.parts if isinstance(part, Media)]
    sizes = [embedding_of(world.loaded.model).features.takes.length(one) for one in shown]  # type: ignore[attr-defined]
    assert sum(token >= FIRST for token in found.ids) == sum(sizes)


def test_text_that_spells_a_placeholder_brings_no_medium_in(world: World) -> None:
    placeholder = world.processor.placeholder(world.media[0].kind)
    spelt = (Message("user", (Text(f"what is {placeholder}?"),)), message("assistant", "so", trained=True))
    ids = world.row(spelt).ids
    never = world.processor.never(world.media[0].kind)
    assert not set(never) & set(ids)
    assert max(ids) < FIRST
    both, one = (
        world.row(asked(world.media[0], text, "so")).ids
        for text in (f"what is {placeholder}?", "what is it?")
    )
    assert [both.count(token) for token in never] == [one.count(token) for token in never]
    assert sum(token >= FIRST for token in both) == sum(token >= FIRST for token in one)
    assert both[-12:] == ids[-12:]


def test_the_template_alone_gives_the_same_ids(world: World) -> None:
    turns = asked(world.media[0], "What is it?")
    assert load_template(str(world.folder)).answered(turns).ids == world.row(turns).ids


def test_a_tree_says_what_rows_say_and_its_gradients_are_theirs(world: World) -> None:
    assert unsupported(world.loaded.model, 200) is None
    tree = build_tree(world.rows())
    saved = stats(tree)
    assert saved.distinct_tokens < saved.row_tokens
    for method in ("full", "projector"):
        model = method_on(doubled(world.fresh().model), method, {}, 0)
        one, two = (_with_gradients(model, tree, shared=shared) for shared in (True, False))
        assert (one[0] - two[0]).abs().max() < 1e-9
        assert one[1].keys() == two[1].keys()
        for name, wanted in two[1].items():
            assert (one[1][name] - wanted).norm() <= 1e-6 * wanted.norm() + 1e-12, name
        projects = [name for name in one[1] if "projector" in name or "connector" in name or "merger" in name]
        assert bool(projects) == (method == "projector")
        assert not [name for name in one[1] if "vision_tower" in name or "audio_tower" in name]


def _with_gradients(
    model: PreTrainedModel, tree: Tree, *, shared: bool
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    said = edge_logprobs(model, tree, shared=shared).logprobs
    said.sum().backward()
    grads = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return said.detach(), {name: grad.clone() for name, grad in grads.items()}


def test_a_medium_is_encoded_once_for_all_its_questions(world: World, monkeypatch: Any) -> None:
    calls: list[int] = []
    before = own.given_of
    monkeypatch.setattr(own, "given_of", lambda *given: (calls.append(1), before(*given))[1])
    model = method_on(world.fresh().model, "projector", {}, 0)
    tree = build_tree(world.rows(QUESTIONS))
    calls.clear()
    edge_logprobs(model, tree)
    assert len(calls) == len(world.media)
    embedding = embedding_of(model)
    sizes = cast("KeptFeatures", embedding.features).takes.length
    assert embedding.projected == sum(map(sizes, world.media))


def test_where_a_picture_is_is_asked_once_for_its_size(worlds: Any, monkeypatch: Any) -> None:
    world: World = worlds("qwen2_5_vl")
    asked_of: list[object] = []
    before = Processor.blank
    monkeypatch.setattr(Processor, "blank", lambda *given: (asked_of.append(given[2]), before(*given))[1])
    model, tree = world.fresh().model, build_tree(world.rows(QUESTIONS))
    for shared in (True, False, True):
        edge_logprobs(model, tree, shared=shared)
    assert len(asked_of) == len(set(asked_of)) == len(world.media) + 1  # and that of the trial


def test_swapped_media_change_what_is_said(world: World) -> None:
    one, other = world.media[:2]
    rows = [world.row(asked(media, "What is it?")) for media in (one, other)]
    with torch.no_grad():
        found = edge_logprobs(world.loaded.model, build_tree(rows)).logprobs
    assert (found[: len(found) // 2] - found[len(found) // 2 :]).abs().max() > 1e-3


def test_greedy_answers_are_those_of_transformers_generate(world: World) -> None:
    theirs = AutoModelForMultimodalLM.from_pretrained(world.folder, dtype=torch.float32).eval()
    template, model = world.loaded.template, world.loaded.model
    examples = [
        Example(str(number), "s", str(number), asked(media, text, ""))
        for number, (media, text) in enumerate((media, text) for media in world.media[:2] for text in "ab")
    ]
    found = {one.example: one.ids for one in generate(model, template, examples, greedy(limit=8))}
    never = embedding_of(model).manner.never
    for example in examples:
        inputs = world.theirs(example.messages[:1])
        out = theirs.generate(
            **inputs,
            max_new_tokens=8,
            do_sample=False,
            bad_words_ids=[[token] for token in never],
            eos_token_id=sorted(template.stop_ids),
            pad_token_id=0,
        )
        assert tuple(out[0, inputs["input_ids"].shape[1] :].tolist()) == found[example.id]


def test_a_placeholder_is_never_written(worlds: Any) -> None:
    world: World = worlds("llava")
    loaded = world.fresh()
    never = embedding_of(loaded.model).manner.never
    with torch.no_grad():
        head = cast("torch.nn.Linear", loaded.model.get_output_embeddings())
        head.weight[list(never)] = 50 * head.weight.sum(0).sign()
        head.weight[list(never)] *= 100
    example = Example("0", "s", "0", asked(world.media[0], "a", ""))
    for shared in (True, False):
        (answer,) = generate(loaded.model, loaded.template, [example], greedy(limit=6))
        assert not set(never) & set(answer.ids)
        if shared:
            loaded.model.config.text_config.attn_logit_softcapping = 1.0  # which a tree does not compute


@pytest.mark.parametrize("method", ["projector", "lora", "full"])
def test_what_is_tuned_is_saved_and_loaded(method: str, worlds: Any, tmp_path: Path) -> None:
    world: World = worlds("qwen3_vl")
    loaded = world.fresh()
    model = method_on(loaded.model, method, {}, 0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 0.05)
        tree = build_tree(world.rows())
        wanted = edge_logprobs(model, tree).logprobs
        assert not torch.equal(edge_logprobs(world.loaded.model, tree).logprobs, wanted)
        save_tuned(model, loaded, tmp_path / "tuned")
        again = load_tuned(tmp_path / "tuned", loaded.place)
        torch.testing.assert_close(edge_logprobs(again.model, tree).logprobs, wanted, atol=1e-5, rtol=1e-5)


def test_a_trained_projector_of_another_model_is_refused(worlds: Any, tmp_path: Path) -> None:
    one, other = worlds("llava"), worlds("idefics3")
    loaded = one.fresh()
    save_tuned(method_on(loaded.model, "projector", {}, 0), loaded, tmp_path / "tuned")
    with pytest.raises(ModelError, match="trained in another model"):
        load_tuned(tmp_path / "tuned", str(other.folder))


@pytest.mark.parametrize("kind", OTHERS[:2])
def test_types_that_nothing_here_names_are_tuned_alike(kind: str, worlds: Any) -> None:
    world: World = worlds(kind)
    test_ids_and_logits_are_those_of_transformers_own_processor_and_model(world)
    test_a_tree_says_what_rows_say_and_its_gradients_are_theirs(world)


def test_a_picture_that_sees_the_question_is_refused(tmp_path: Path) -> None:
    make_media_model("paligemma", tmp_path)
    with pytest.raises(ModelError, match="reads ahead"):
        load_model(str(tmp_path))


PLANTED = {
    "depth in the place of positions": ("qwen2_5_vl", lambda manner: Manner(manner.deeper)),
    "no features for deeper layers": ("qwen3_vl", lambda manner: Manner(0, manner.grids)),
    "a picture whose tokens see what is before them alone": ("gemma3", lambda manner: Manner()),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_model_that_takes_media_otherwise_is_found_out(fault: str, worlds: Any, monkeypatch: Any) -> None:
    """The ways that would be silent: each fails beside transformers' own code, and so does loading."""
    kind, wrong = PLANTED[fault]
    world: World = worlds(kind)
    made = MediaEmbedding.__init__

    def planted(self: Any, words: Any, projectors: Any, features: Any, manner: Any) -> None:
        made(self, words, projectors, features, wrong(manner))

    monkeypatch.setattr(MediaEmbedding, "__init__", planted)
    with pytest.raises(ModelError, match="in a way that is not known here"):
        world.fresh()


def test_a_causal_picture_in_a_tree_is_found_out(worlds: Any, monkeypatch: Any) -> None:
    """Where the tree forgets that a picture's tokens see each other, its trial finds that."""
    world: World = worlds("gemma3")
    monkeypatch.setattr(call, "_sees_both_ways", lambda model: False)
    monkeypatch.setattr("espalier.models.support._TRIED", {})
    assert "come out otherwise" in str(unsupported(world.fresh().model, 200))


def test_depth_in_a_tree_is_found_out(worlds: Any, monkeypatch: Any) -> None:
    world: World = worlds("qwen2_5_vl")
    monkeypatch.setattr(call, "tree_positions", lambda model, tree: tree.positions)
    monkeypatch.setattr("espalier.models.support._TRIED", {})
    assert "come out otherwise" in str(unsupported(world.fresh().model, 200))


def test_a_type_that_takes_media_otherwise_is_refused_by_name(worlds: Any, tmp_path: Path) -> None:
    world: World = worlds("llava")
    folder = tmp_path / "other"
    folder.mkdir()
    for file in world.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["LlavaModel"]}))
    with pytest.raises(ModelError, match="reads pictures beside text"):
        check_folder(folder)


def test_a_sound_is_as_long_as_the_encoder_hears(worlds: Any, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 8_000 * 31).astype(np.float32), 8_000)
    media = _media("audio", path)
    with pytest.raises(TemplateError, match=r"31\.0 s"):
        worlds("qwen2_audio").row(asked(media, "What?"))
    parts = worlds("voxtral").row(asked(media, "What?")).ids  # hears it in two
    assert sum(token >= FIRST for token in parts) == 2 * 75


# As many models have it: pictures before all words of a turn, contents as parts alone, no end of an answer.
PICTURES_FIRST = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}"
    "{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT: ' }}{% endif %}"
)


def test_a_template_that_only_the_processor_has_is_taken_and_may_show_pictures_first(
    worlds: Any, tmp_path: Path
) -> None:
    world: World = worlds("llava")
    for file in world.folder.iterdir():
        if not file.name.startswith("chat_template"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": PICTURES_FIRST}))
    loaded = load_model(str(tmp_path))
    one, other = world.media[:2]
    parts = (Text("Between "), one, Text(" and "), other, Text(": which <image> is red?"))
    found = loaded.template.answered([Message("user", parts), message("assistant", "so", trained=True)])
    text = loaded.template.pieces(found.ids)
    assert "".join(text).startswith("USER: ⟨a picture⟩\n⟨a picture⟩\nBetween   and  : which <image> is red?")
    assert loaded.template.prompt_ids([Message("user", parts)]) == found.ids[: found.prompt]
    save_tuned(loaded.model, loaded, tmp_path / "again")
    again = load_template(str(tmp_path / "again"))
    assert again.answered([Message("user", parts), message("assistant", "so", trained=True)]) == found
