"""HTTP for `lewel.data.remote`: sessions that leave no host, and what a server's error says.

A redirect to another host is refused and never followed: it could lead into the user's own network, and nobody has
decided to trust that host. From http to https on the same host it is followed.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin, urlsplit

_PORTS = {"http": 80, "https": 443}


class OtherHostError(Exception):
    """A redirect to another host; the text names it."""


def options() -> dict[str, Any]:
    """For fsspec's HTTP file system."""
    return {"get_client": _client}


async def _client(**options: Any) -> Any:
    """A session that raises OtherHostError before it follows a redirect to another host."""
    import aiohttp  # with the extra "remote"

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_check_redirect)
    return aiohttp.ClientSession(**{**options, "trace_configs": [*(options.get("trace_configs") or ()), trace]})


async def _check_redirect(_session: Any, _context: Any, redirect: Any) -> None:
    here = str(redirect.url)
    where = redirect.response.headers.get("Location") or redirect.response.headers.get("URI") or ""
    there = urljoin(here, where)
    if not is_same_host(here, there):
        raise OtherHostError(f"redirects to another host, {_host(there)}, which is not followed")


def is_same_host(here: str, there: str) -> bool:
    """Whether both are of one host and port, or the second is the first's https."""
    a, b = urlsplit(here), urlsplit(there)
    if (a.hostname, b.scheme) == (b.hostname, a.scheme):
        return _port(here) == _port(there)
    upgraded = (a.scheme, b.scheme, _port(here), _port(there)) == ("http", "https", 80, 443)
    return a.hostname == b.hostname and upgraded


def _port(url: str) -> int | None:
    parts = urlsplit(url)
    return parts.port or _PORTS.get(parts.scheme)


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def without_password(url: str) -> str:
    """The URL as it may be shown: https://user:secret@host becomes https://user:...@host."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:...@", url)


def status(error: BaseException) -> int | None:
    """The status that a server answered with; None for any other error."""
    found = getattr(error, "status", None)
    return found if isinstance(found, int) and found >= 400 else None


def reason(error: BaseException) -> str:
    """The server's words beside the status."""
    return str(getattr(error, "message", ""))


def retry_after_s(error: BaseException) -> float:
    """The seconds of the header Retry-After; 0 without one."""
    headers = getattr(error, "headers", None)
    try:
        return max(0.0, float(headers["Retry-After"])) if headers else 0.0
    except (KeyError, TypeError, ValueError):  # it may also be a date
        return 0.0
