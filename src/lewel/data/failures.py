"""What went wrong with a file at a URL: told in one line, and whether another try may end otherwise."""

from __future__ import annotations

from lewel.data import http
from lewel.terminal import printable

_FINAL = (FileNotFoundError, PermissionError, NotImplementedError, http.OtherHostError)
_NO_FILE, _NO_ACCESS, _LATER = (404, 410), (401, 403, 407), (408, 425, 429)


def may_pass(error: BaseException) -> bool:
    """Whether another try may end otherwise."""
    status = http.status(error)
    if status is not None:
        return status in _LATER or status >= 500
    if isinstance(cause := _cause(error), Exception):
        return may_pass(cause)
    return not isinstance(error, _FINAL)


def said(url: str, error: BaseException) -> str:
    """The URL and what is wrong with it."""
    cause = _cause(error)
    return f"{printable(http.without_password(url))}: {_what(error if cause is None else cause)}"


def advice(error: BaseException) -> str:
    """What to do about a final answer; "" for what may pass."""
    if may_pass(error):
        return ""
    cause = _cause(error)
    error = error if cause is None else cause
    status = http.status(error)
    if isinstance(error, http.OtherHostError):
        return "give the address there, if you trust that host"
    if isinstance(error, PermissionError) or status in _NO_ACCESS:
        return "check the address and your credentials"
    return "check the address, or copy the shards there again"


def asked_pause_s(error: BaseException) -> float:
    """Seconds that a server asked to wait; 0 where it did not."""
    cause = _cause(error)
    return http.retry_after_s(error if cause is None else cause)


def _what(error: BaseException) -> str:
    status = http.status(error)
    if status in _NO_FILE:
        return f"no such file (HTTP {status})"
    if status in _NO_ACCESS:
        return f"no access (HTTP {status})"
    if status is not None:
        return printable(f"the server answers HTTP {status} {http.reason(error)}".rstrip())
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return printable(" ".join(str(error).split()) or type(error).__name__)


def _cause(error: BaseException) -> BaseException | None:
    """Behind fsspec's FileNotFoundError, which is what it makes of every failure of HTTP."""
    return error.__cause__ if isinstance(error, FileNotFoundError) else None
