"""Find weights in the local cache, else download them once, else fail within seconds.

Without a network the client of the hub retries for most of a minute. Here the cache comes first, and one probe of the
hub decides whether to try a download.
"""

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import huggingface_hub
import torch
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from dinocli.errors import WeightsError, first_line

PROBE_SECONDS = 1.5
PROXY_ERRORS = (407, 502, 503, 504)  # HTTP status of a proxy that refuses, or does not reach the server
WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")
REMEDY = "give a file with --weights PATH, or start from scratch with --weights none"


def find_file(repo: str, names: Iterable[str]) -> Path:
    """Return the first available file of a hub repository, from the cache or downloaded.

    Args:
        repo: ``organisation/name``.
        names: File names in order of preference.

    Raises:
        WeightsError: The repository has none of the files, or it is not cached and the hub cannot be reached.
    """
    names = list(names)
    cached = _in_cache(repo, names)
    if cached is not None:
        return cached
    _need_network(repo, constants.ENDPOINT)
    for name in names:
        try:
            return Path(huggingface_hub.hf_hub_download(repo, name))
        except LocalEntryNotFoundError as error:
            raise WeightsError(f"{repo}: the download broke off: try again, or {REMEDY}") from error
        except EntryNotFoundError:
            continue
        except Exception as error:  # no such repository, no permission, a network that fails half-way
            raise WeightsError(f"{repo}: cannot be fetched ({first_line(error)}); {REMEDY}") from error
    raise WeightsError(f"{repo}: has none of the files {', '.join(names)}; {REMEDY}")


def find_pretrained(name: str, cfg: Any) -> Path:
    """Return the weights file of a timm model, from the caches of the hub and of torch, or downloaded.

    Args:
        name: timm name, for messages.
        cfg: timm's `PretrainedCfg` of the model.

    Raises:
        WeightsError: timm has no weights for the model, or they cannot be downloaded.
    """
    filename = cfg.hf_hub_filename or "pytorch_model.bin"
    files = (filename.replace("pytorch_model.bin", "model.safetensors"), filename)
    if cfg.hf_hub_id and (cached := _in_cache(cfg.hf_hub_id, files)):
        return cached
    url = cfg.url if isinstance(cfg.url, str) and not cfg.url.endswith(".npz") else ""
    stored = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    if url and stored.is_file():
        return stored
    if cfg.hf_hub_id:
        return find_file(cfg.hf_hub_id, files)
    if not url:
        raise WeightsError(f"timm has no pretrained weights for {name}; {REMEDY}")
    _need_network(name, url)
    stored.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(stored), progress=False)
    except OSError as error:
        raise WeightsError(f"{name}: {url} cannot be fetched ({error}); {REMEDY}") from error
    return stored


def _in_cache(repo: str, names: Iterable[str]) -> Path | None:
    paths = (huggingface_hub.try_to_load_from_cache(repo, name) for name in names)
    return next((Path(path) for path in paths if isinstance(path, str)), None)


def _need_network(what: str, url: str) -> None:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in constants.ENV_VARS_TRUE_VALUES
    if offline or constants.HF_HUB_OFFLINE:
        raise WeightsError(f"{what} is neither a path nor in the local cache, and HF_HUB_OFFLINE is set; {REMEDY}")
    if not _answers(url):
        host = urlparse(url).netloc
        raise WeightsError(f"{what} is neither a path nor in the local cache, and {host} does not answer; {REMEDY}")


def _answers(url: str) -> bool:
    """Return whether a server answers within `PROBE_SECONDS`, with any status; uses the proxies of the environment."""
    answered = threading.Event()

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.build_opener().open(request, timeout=PROBE_SECONDS).close()
        except urllib.error.HTTPError as refusal:
            refusal.close()
            if refusal.code in PROXY_ERRORS:
                return
        except (OSError, ValueError):
            return
        answered.set()

    # A thread, because without a network the DNS lookup has its own, much longer timeout.
    probe = threading.Thread(target=ask, daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return answered.is_set()
