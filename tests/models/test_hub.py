"""Access to the hub, with a local server or none; no test uses the network."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import save_file
from timm.models import get_pretrained_cfg

from dinocli.errors import WeightsError
from dinocli.models import hub
from dinocli.models.create import create_backbone
from dinocli.models.weights import load_backbone

# Run in a process of its own, because the hub's client reads its settings when it is imported.
SCRIPT = """
import time
from dinocli.errors import WeightsError
from dinocli.models.weights import load_backbone

info = load_backbone("resnet10t.c3_in1k")[1]
print(info.matched == info.total, info.licence, info.source)
start = time.perf_counter()
try:
    load_backbone("vit_small_patch16_224.dino")
except WeightsError as error:
    print(error)
print(time.perf_counter() - start)
"""


def _cached(home: Path) -> None:
    """Write the files that the client of the hub leaves after a download."""
    repo = home / "hub" / "models--timm--resnet10t.c3_in1k"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    (repo / "snapshots" / "abc").mkdir(parents=True)
    save_file(create_backbone("resnet10t").model.state_dict(), repo / "snapshots" / "abc" / "model.safetensors")


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.usefixtures("no_proxy")
def test_without_network_the_cache_is_used_quickly(
    silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cached(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name, value in (("HUB_CACHE", str(tmp_path / "hub")), ("HUB_OFFLINE", False)):
        monkeypatch.setattr(constants, f"HF_{name}", value)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://{silent}")
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.1)
    info = load_backbone("resnet10t.c3_in1k")[1]
    assert (info.matched, info.licence, info.source) == (info.total, "apache-2.0", "resnet10t.c3_in1k")
    start = time.perf_counter()
    with pytest.raises(WeightsError, match=rf"vit_small_patch16_224.dino is neither a path .* and {silent} does not"):
        load_backbone("vit_small_patch16_224.dino")
    assert time.perf_counter() - start < 10  # the hub's own client takes 47


@pytest.mark.slow
def test_the_cache_is_used_with_the_settings_of_the_environment(silent: str, tmp_path: Path) -> None:
    _cached(tmp_path)
    mine = {"HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path), "HF_ENDPOINT": f"http://{silent}"}
    env = {key: value for key, value in os.environ.items() if "HF_" not in key and "proxy" not in key.lower()} | mine
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    cached, message, seconds = run.stdout.splitlines()
    assert cached == "True apache-2.0 resnet10t.c3_in1k"
    assert f"vit_small_patch16_224.dino is neither a path nor in the local cache, and {silent} does not" in message
    assert "--weights PATH" in message
    assert "--weights none" in message
    assert float(seconds) < 10


def test_offline_mode_makes_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "_answers", lambda url: pytest.fail("asked the network"))
    with pytest.raises(WeightsError, match="a/b is neither a path nor in the local cache, and HF_HUB_OFFLINE is set"):
        hub.find_file("a/b", ["model.safetensors"])


class _Refuses(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(504 if "unreachable" in self.path else 403)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(hub, "PROBE_SECONDS", 60.0)  # of a busy machine
    with HTTPServer(("127.0.0.1", 0), _Refuses) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_proxy")
def test_any_http_status_counts_as_an_answer(server: str) -> None:
    assert hub._answers(server)
    assert not hub._answers(f"{server}/unreachable")  # but not that of a proxy without a route


def test_a_proxy_of_the_environment_is_used(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert hub._answers("http://hub.invalid")


@pytest.mark.usefixtures("no_proxy")
def test_a_slow_name_server_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_: object, **__: object) -> None:
        released.wait(30)
        raise socket.gaierror("late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.1)
    start = time.perf_counter()
    assert not hub._answers("http://hub.invalid")
    assert time.perf_counter() - start < 10
    released.set()


def test_torchs_own_cache_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(hub, "_answers", lambda url: pytest.fail("asked the network"))
    stored = tmp_path / "checkpoints" / "dino_deitsmall16_pretrain.pth"
    stored.parent.mkdir()
    stored.touch()
    name = "vit_small_patch16_224.dino"
    assert hub.find_pretrained(name, get_pretrained_cfg(name)) == stored


def test_an_interrupted_download_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(repo: str, name: str) -> str:
        raise ConnectionError("reset by peer\nsecond line")

    monkeypatch.setattr(hub, "_answers", lambda url: True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", breaks)
    with pytest.raises(WeightsError, match=r"a/b: cannot be fetched \(reset by peer\); give a file") as caught:
        hub.find_file("a/b", ["model.safetensors"])
    assert "\n" not in str(caught.value)


def test_the_second_file_is_taken_where_the_first_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def only_bin(repo: str, name: str) -> str:
        asked.append(name)
        if name.endswith(".bin"):
            return f"/cache/{name}"
        raise EntryNotFoundError("404")

    monkeypatch.setattr(hub, "_answers", lambda url: True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", only_bin)
    assert hub.find_file("a/b", hub.WEIGHTS_FILES) == Path("/cache/pytorch_model.bin")
    assert asked == list(hub.WEIGHTS_FILES)
    with pytest.raises(WeightsError, match="has none of the files x"):
        hub.find_file("a/b", ["x"])
