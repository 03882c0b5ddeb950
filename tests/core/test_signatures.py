"""What a file is, is told by its first bytes, with what to do; a text is never taken for something else."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from espalier.core.errors import DataError
from espalier.core.files import read_text

if TYPE_CHECKING:
    from pathlib import Path


def archive(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return data.getvalue()


def tar() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as file:
        file.addfile(tarfile.TarInfo("a.jsonl"))
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (archive("[Content_Types].xml", "xl/workbook.xml"), r"an Excel workbook.*as CSV"),
        (archive("[Content_Types].xml", "word/document.xml"), "a Word document"),
        (archive("model/data.pkl"), r"a PyTorch file.*model\.name"),
        (archive("a.jsonl", "b.jsonl"), r"a ZIP archive of a\.jsonl, b\.jsonl.*Unpack it"),
        (archive("a.jsonl")[:60], "a ZIP archive, cut off"),
        (tar(), "a tar archive"),
        (gzip.compress(tar()), "a tar archive"),
        (b"PAR1\x15\x04\x15", "a table"),
        (b"\xff\xff\xff\xff\x40\x02\x00\x00", "a table"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"Obj\x01\x04\x16avro.codec", "an Avro file"),
        (b"RIFF\x24\x00\x00\x00WAVE", "a sound"),
        (b"\x93\x12\xfe\x88" * 30, "binary"),
        (b"\x00" * 100, "binary"),
        (gzip.compress(b"x" * 1000)[:15], "cannot be read: Compressed file ended"),
    ],
    # archives hold the time: by their bytes, a test would have another name in each process
    ids=lambda value: "data" if isinstance(value, bytes) else None,
)
def test_what_is_no_text_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(DataError, match=said) as caught:
        read_text(tmp_path / "a.json")
    assert "iconv" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["ID3,RIFF,a", "ORC,b", "GIF8;c", "BZ", "Rar!\tx", '{"a": "PK"}', "\x1b[1mé"]
)
def test_a_text_is_a_text_however_it_begins(tmp_path: Path, text: str) -> None:
    for number, encoding in enumerate(("utf-8", "utf-8-sig", "utf-16", "utf-32")):
        path = tmp_path / str(number)
        path.write_bytes(text.encode(encoding))
        assert read_text(path) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("café au lait", "windows-1252"), ("很好谢谢", "gb18030"), ("Спасибо", "windows-1251")],
)
def test_an_old_encoding_is_shown_and_not_assumed(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(b"prompt,completion\n1," + text.encode(encoding) + b"\n2,b\n")
    with pytest.raises(DataError, match=f"{text[:4]}.*' as {encoding}") as caught:
        read_text(tmp_path / "a.csv")
    assert caught.value.where == f"{tmp_path / 'a.csv'}:2"
