"""timm's own weights without a network: one line, within seconds."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from lewel.errors import UserError
from lewel.interop import hub, weights


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(hub, "ANSWER_S", 0.5)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def refused(monkeypatch, port: int) -> str:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
    began = time.monotonic()
    with pytest.raises(UserError, match=r"timm found no pretrained weights.* timm:resnet10t=FILE") as caught:
        weights.load("timm:resnet10t")
    assert time.monotonic() - began < 5 and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_server_that_refuses(listener, monkeypatch) -> None:
    port = listener.getsockname()[1]
    listener.close()
    assert f"(127.0.0.1:{port}: Connection refused)" in refused(monkeypatch, port)


def test_a_server_that_never_answers(listener, monkeypatch) -> None:
    assert ": no answer within 0.5 s)" in refused(monkeypatch, listener.getsockname()[1])


def test_a_server_in_trouble_is_not_asked_again_and_again(listener, monkeypatch) -> None:
    asked = []

    def answer() -> None:
        connection, _ = listener.accept()
        asked.append(connection.recv(1000))
        connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        connection.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    assert ": the server answers 503)" in refused(monkeypatch, listener.getsockname()[1])
    thread.join(5)
    assert len(asked) == 1 and asked[0].startswith(b"HEAD /timm/resnet10t")


def test_no_network_wanted(listener, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "(HF_HUB_OFFLINE is set)" in refused(monkeypatch, listener.getsockname()[1])


def test_a_model_without_weights() -> None:
    with pytest.raises(UserError, match=r"timm has no pretrained weights of botnet50ts_256; get a file, then timm:"):
        weights.load("timm:botnet50ts_256")
