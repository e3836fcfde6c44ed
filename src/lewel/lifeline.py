"""That a process of a run has ended is noticed at once, and told in one line.

Every process has a connection to process 0, and nothing is sent over it until the end. The system closes the sockets of
a process however it ends, so its end without a farewell reads as the end of the stream; a busy or a stopped process
keeps its sockets. Process 0 passes the news on. A collective call that waits for the lost process raises (gloo), or
would wait for the time-out (NCCL): whoever has not left by itself after a grace period is ended here.
"""

from __future__ import annotations

import logging
import os
import secrets
import selectors
import socket
import struct
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lewel.errors import UserError
from lewel.terminal import complain_at_once

log = logging.getLogger(__name__)

NEWS_S = 2.5  # between the error of a collective call and the end of the process that caused it
GRACE_S = 1.0  # for the main thread to leave by itself, and to tell; else the line comes from here
LEAVE_S = 20.0  # and then to leave: a checkpoint may be on its way to the disk
_NUMBER = struct.Struct("!i")  # of a process that has ended; FAREWELL: the sender leaves as it should
_FAREWELL = -1
_HELLO = struct.Struct("!16si")  # the run's key, and the number of the process that connects

_open: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_in_child() -> None:
    """A forked data worker may outlive its parent for a moment, and must not keep its connection open."""
    for end in list(_open):
        if end.fileno() >= 0:
            socket.close(end.detach())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


class LostProcessError(UserError):
    """A process of the run has ended before its time."""

    def __init__(self, lifeline: Lifeline):
        super().__init__(lifeline.news())
        self._lifeline = lifeline

    @property
    def told_elsewhere(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  # known only at the end
        return self._lifeline.told


class Listener:
    """Where process 0 is reached by those who have the key."""

    def __init__(self) -> None:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        self.socket = socket.create_server(("", 0), family=family, dualstack_ipv6=dual, backlog=1024)
        _open.add(self.socket)
        self.port = int(self.socket.getsockname()[1])
        self.key = secrets.token_bytes(16)


def connect(host: str, port: int, key: bytes, rank: int, timeout_s: float) -> socket.socket:
    """The connection of process `rank` to process 0. Raises OSError when it cannot be reached."""
    connection = socket.create_connection((host, port), timeout=timeout_s)
    connection.sendall(_HELLO.pack(key, rank))
    connection.settimeout(None)
    _open.add(connection)
    return connection


class Lifeline:
    """A thread that watches the other processes: process 0 by its listener, any other by its connection to process 0.

    lost: the number of the process that ended, None while all are there.   told: the thread has said so.
    """

    def __init__(self, rank: int, world: int, end: Listener | socket.socket):
        self.rank, self.world = rank, world
        self.lost: int | None = None
        self.told = False
        self._key = end.key if isinstance(end, Listener) else b""
        self._listener = end.socket if isinstance(end, Listener) else None
        self._peers: dict[socket.socket, int] = {} if isinstance(end, Listener) else {end: 0}
        self._woken, self._bell = socket.socketpair()
        _open.update((self._woken, self._bell))
        self._noticed, self._left, self._telling = threading.Event(), threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="lewel-lifeline", daemon=True)
        self._thread.start()

    def news(self) -> str:
        return (
            f"process {self.lost} of {self.world} ended before its time (its own output says why, or it was killed), "
            "and this one stops; the same command goes on from the last checkpoint"
        )

    def notices(self, wait_s: float = NEWS_S) -> bool:
        """Whether a process was lost, or is within `wait_s`."""
        return self._noticed.wait(wait_s)

    def close(self, farewell: bool) -> None:
        """Stop watching. farewell: all processes end now, and the others need not mind that this one does."""
        with self._telling:
            self._left.set()
        self._bell.send(b"!")
        self._thread.join()
        for peer in self._peers:
            if farewell:
                _send(peer, _FAREWELL)
        for end in (*self._peers, *filter(None, [self._listener]), self._woken, self._bell):
            end.close()

    # -- in the thread

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for end in (*self._peers, *filter(None, [self._listener]), self._woken):
                selector.register(end, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._woken in ready:
                    return
                for end in ready:
                    assert isinstance(end, socket.socket)
                    if end is self._listener:
                        self._accept(selector)
                    elif (lost := self._hear(end, selector)) is not None:
                        self._lose(lost)
                        return

    def _accept(self, selector: selectors.BaseSelector) -> None:
        assert self._listener is not None
        with suppress(OSError, struct.error):
            peer, _ = self._listener.accept()
            _open.add(peer)
            peer.settimeout(5.0)
            key, rank = _HELLO.unpack(peer.recv(_HELLO.size, socket.MSG_WAITALL))
            peer.settimeout(None)
            if secrets.compare_digest(key, self._key):
                self._peers[peer] = rank
                selector.register(peer, selectors.EVENT_READ)
            else:
                peer.close()

    def _hear(self, peer: socket.socket, selector: selectors.BaseSelector) -> int | None:
        """The number of the process that is lost, by what a peer sends or because its connection has ended."""
        try:
            heard = peer.recv(_NUMBER.size, socket.MSG_WAITALL)
        except OSError:
            heard = b""
        number = _NUMBER.unpack(heard)[0] if len(heard) == _NUMBER.size else self._peers[peer]
        if number != _FAREWELL:
            return number
        selector.unregister(peer)
        return None

    def _lose(self, lost: int) -> None:
        self.lost = lost
        self._noticed.set()
        for peer, rank in self._peers.items():
            if self.rank == 0 and rank != lost:
                _send(peer, lost)
        if self._left.wait(GRACE_S):
            return
        with self._telling:
            self.told = not self._left.is_set()
        if self.told:
            complain_at_once(f"lewel: {self.news()}")
            if not self._left.wait(LEAVE_S):
                os._exit(UserError.exit_code)


def join(
    rank: int, world: int, address: str, timeout_s: float, gather: Callable[[list[Any]], list[Any]]
) -> Lifeline | None:
    """Connect all processes; None, with a warning, where one cannot reach process 0. gather: joins all lists."""
    listener = Listener() if rank == 0 else None
    port, key = gather([(listener.port, listener.key) if listener else None])[0]
    end, problem = listener, ""
    try:
        end = listener or connect(address, port, key, rank, timeout_s)
    except OSError as error:
        problem = f"process {rank} cannot reach process 0 at {address}:{port} ({error.strerror or error})"
    problems = [text for text in gather([problem]) if text]
    if problems and rank == 0:
        log.warning("%s; that a process has ended is noticed after %g s (--timeout)", problems[0], timeout_s)
    return None if problems or end is None else Lifeline(rank, world, end)


def _send(peer: socket.socket, number: int) -> None:
    with suppress(OSError):  # it may have ended too
        peer.sendall(_NUMBER.pack(number))
