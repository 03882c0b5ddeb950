"""What a URL names, fetched where a person asked for that; a page that says "not found" is no picture."""

from __future__ import annotations

from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from espalier.core.errors import DataError

PATIENCE = 60.0  # seconds without a byte
MOST = 1 << 28  # bytes of one file
NAME = "espalier"  # some servers refuse Python's own name


def fetched(url: str) -> bytes:
    """Return what an http(s) URL names.

    Raises:
        DataError: it cannot be had, or has more than 256 MiB.
    """
    try:
        with urlopen(Request(url, headers={"User-Agent": NAME}), timeout=PATIENCE) as reply:
            data: bytes = reply.read(MOST + 1)
    except HTTPError as error:
        raise _failed(url, f"the server says {error.code} {error.reason}") from None
    except URLError as error:
        raise _failed(url, str(error.reason)) from None
    except (OSError, HTTPException, ValueError) as error:
        raise _failed(url, str(error) or type(error).__name__) from None
    if len(data) > MOST:
        raise _failed(url, f"it has more than {MOST >> 20} MiB")
    return data


def _failed(url: str, why: str) -> DataError:
    return DataError(
        f"What '{url[:80]}' names cannot be fetched: {why}.",
        hint="Run the same command again, which fetches what is missing, or write the path of a copy.",
    )
