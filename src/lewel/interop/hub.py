"""timm's own pretrained weights: from the cache without a look at the network, else from a server that answers at once.

A hub client tries for one to two minutes when there is no network. So the server is asked once before, for `ANSWER_S`.
"""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import huggingface_hub.constants
import timm
import torch
from torch import nn

from lewel import reading
from lewel.errors import UserError

ANSWER_S = 4.0  # for the server's name, the connection and the answer together
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # as timm names them, in its order


def pretrained(name: str) -> nn.Module:
    """A timm model with timm's weights. Raises UserError where they are neither cached nor to be had."""
    facts = timm.get_pretrained_cfg(name)
    if facts is None or not facts.has_weights:
        raise UserError(f"timm:{name}: timm has no pretrained weights of {name}; get a file, then timm:{name}=FILE")
    hub_id = facts.hf_hub_id or ""
    try:
        if hub_id and (cached := _cached(hub_id, facts.hf_hub_filename)):
            return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": cached})
        if problem := _unreachable(hub_id, str(facts.url or "")):
            raise _not_had(name, problem)
        return timm.create_model(name, pretrained=True)
    except UserError:
        raise
    except Exception as error:  # a hub client may raise anything; what failed is the same
        raise _not_had(name, reading.first_line(error)) from error


def licence(model: nn.Module) -> str | None:
    """What timm says of the weights' licence."""
    return cast(Any, model).pretrained_cfg.get("license")


def _cached(hub_id: str, filename: str | None) -> str | None:
    """The file in the hub's cache."""
    repository, _, revision = hub_id.partition("@")
    for each in (filename,) if filename else _HUB_FILES:
        found = huggingface_hub.try_to_load_from_cache(repository, each, revision=revision or None)
        if isinstance(found, str):
            return found
    return None


def _unreachable(hub_id: str, url: str) -> str:
    """Why the weights cannot come over the network; "" when they can, or lie in torch's cache."""
    if not hub_id:
        cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        return "" if cached.is_file() else _no_answer(url)
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    return _no_answer(f"{huggingface_hub.constants.ENDPOINT}/{hub_id.partition('@')[0]}")


def _no_answer(url: str) -> str:
    """Ask once. In a thread: a look-up of the server's name has no time limit of its own."""
    found = [f"no answer within {ANSWER_S:g} s"]

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "lewel"})
            urllib.request.urlopen(request, timeout=ANSWER_S).close()
            found[0] = ""
        except urllib.error.HTTPError as error:  # the client says better what 401 or 404 mean
            found[0] = "" if error.code < 500 else f"the server answers {error.code}"
        except urllib.error.URLError as error:
            fail(error.reason)
        except Exception as error:
            fail(error)

    def fail(error: BaseException | str) -> None:
        if not isinstance(error, TimeoutError):  # the socket's own end of the same wait
            found[0] = reading.first_line(error) if isinstance(error, Exception) else str(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    return found[0] and f"{urllib.request.Request(url).host}: {found[0]}"


def _not_had(name: str, problem: str) -> UserError:
    return UserError(
        f"timm:{name}: timm found no pretrained weights, neither in its cache nor on the network ({problem}); "
        f"get the file another way, then timm:{name}=FILE"
    )
