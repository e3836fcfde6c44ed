"""Files at a URL, by fsspec: whole, their sizes, or many byte ranges at once; never without a time limit.

What may pass is tried again, after longer and longer pauses: no answer, a broken connection, HTTP 408, 429 and 5xx.
Every other answer of an HTTP server is final, and is told as what it is. Redirects of HTTP are followed within a host
only (`lewel.data.http`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from lewel.data import failures, http
from lewel.errors import UserError

log = logging.getLogger(__name__)

T = TypeVar("T")
TIMEOUT_S = 30.0  # of one try; all tries take less than the loader waits for its workers
MOST_PAUSE_S = 4.0  # however long a server asks to wait: workers would be taken for stuck
WHOLE_TIMEOUT_S = 600.0  # the index of ten million images is half a gigabyte
TRIES, PAUSE_S = 3, 2.0  # the first pause; each is twice the one before
INSTALLED_WITH_EXTRA = ("s3", "s3a", "http", "https")
EXTRA = "; pip install 'lewel[remote]'"


class Range(NamedTuple):
    """Bytes start .. end - 1 of the file at `url`."""

    url: str
    start: int
    end: int


def is_url(where: str) -> bool:
    """Whether it names a file system: s3://bucket/folder."""
    return "://" in where


def whole(url: str) -> bytes:
    """The file's content. Raises UserError where it cannot be had."""
    system, (path,) = _opened([url])
    return _tried(lambda: system.cat_file(path), url, WHOLE_TIMEOUT_S)


def sizes(urls: Sequence[str]) -> list[int | None]:
    """Bytes of each file, asked for at once; None where a server does not say. Raises UserError for a missing one."""
    system, paths = _opened(urls)
    try:
        return _tried(lambda: system.sizes(paths), urls[0], TIMEOUT_S)
    except UserError:
        for url, path in zip(urls, paths, strict=True):  # one of them: which?
            _tried(lambda path=path: system.size(path), url, TIMEOUT_S)
        raise


def read(ranges: Sequence[Range]) -> list[bytes]:
    """The bytes of all ranges, fetched together. Raises UserError for what cannot be had after `TRIES` tries."""
    found: dict[Range, Any] = {each: b"" for each in ranges if each.start == each.end}
    for number in range(TRIES):
        last = number == TRIES - 1
        if not (missing := [each for each in dict.fromkeys(ranges) if not isinstance(found.get(each), bytes)]):
            break
        found |= zip(missing, _fetched(missing), strict=True)
        failed = {each: error for each in missing if isinstance(error := found[each], BaseException)}
        for each, error in failed.items():
            if last or not failures.may_pass(error):
                raise _final(each.url, error) from error
        if failed:
            first, error = next(iter(failed.items()))
            log.warning("%d byte ranges once more: %s", len(failed), failures.said(first.url, error))
            _pause(number, error)
    return [found[each] for each in ranges]


def _fetched(ranges: Sequence[Range]) -> list[Any]:
    """For each range its bytes or an error."""
    system, paths = _opened([each.url for each in ranges])
    starts, ends = [each.start for each in ranges], [each.end for each in ranges]
    try:
        return _in_time(lambda: system.cat_ranges(paths, starts, ends, on_error="return"), TIMEOUT_S)
    except Exception as error:
        return [error] * len(ranges)


def _opened(urls: Sequence[str]) -> tuple[Any, list[str]]:
    """The file system of the URLs, and the paths in it. fsspec keeps one for each process and thread."""
    from fsspec.core import url_to_fs

    try:
        options = http.options() if urls[0].lower().startswith(("http://", "https://")) else {}
        system, _ = url_to_fs(urls[0], **options)
        paths = {url: url_to_fs(url)[1] for url in set(urls)}
    except ImportError as error:
        ours = urls[0].partition("://")[0] in INSTALLED_WITH_EXTRA  # fsspec's words name the package of every other
        raise UserError(f"--data {urls[0]}: {error}{EXTRA if ours else ''}") from error
    except ValueError as error:
        raise UserError(f"--data {urls[0]}: {error}; allowed are s3://, https:// and what fsspec knows") from error
    return system, [paths[url] for url in urls]


def _tried(work: Callable[[], T], url: str, timeout_s: float) -> T:
    for number in range(TRIES):
        try:
            return _in_time(work, timeout_s)
        except Exception as error:
            if number == TRIES - 1 or not failures.may_pass(error):
                raise _final(url, error) from error
            log.warning("once more: %s", failures.said(url, error))
            _pause(number, error)
    raise AssertionError("unreachable")


def _in_time(work: Callable[[], T], timeout_s: float) -> T:
    """`work()`, given up after so many seconds: not every file system has a limit of its own."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout_s)


def _pause(number: int, error: BaseException) -> None:
    """Before the next try: twice as long each time, or as long as the server asks for, within reason."""
    time.sleep(max(PAUSE_S * 2**number, min(failures.asked_pause_s(error), MOST_PAUSE_S)))


def _final(url: str, error: BaseException) -> UserError:
    again = f"{TRIES} tries; see whether the server answers, then give the same command again"
    return UserError(f"--data {failures.said(url, error)}; {failures.advice(error) or again}")
