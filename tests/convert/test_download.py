"""Parameters that are fetched from an address: published --file hf://OWNER/NAME."""

import http.server
import threading
from pathlib import Path

import pytest

from imagenet_trainer.convert.download import fetch, is_address, name_of
from imagenet_trainer.errors import ArgumentError

ADDRESS = "hf://timm/resnet18.tv_in1k"
FOLDER = "/timm/resnet18.tv_in1k/resolve/main/"


@pytest.fixture
def served(monkeypatch):
    """The files of a server by path; `requests` are the paths that were asked for."""
    files, requests = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"") + files.get("missing", 0)))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address + "/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield files, requests, address
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_repository_is_fetched_once_with_its_configuration(served, tmp_path):
    files, requests, _ = served
    files[FOLDER + "model.safetensors"], files[FOLDER + "config.json"] = b"parameters", b"{}"
    for _ in range(2):
        path = fetch(ADDRESS, tmp_path)
    assert path == str(tmp_path / "timm-resnet18.tv_in1k" / "model.safetensors")
    folder = tmp_path / "timm-resnet18.tv_in1k"
    assert (folder / "model.safetensors").read_bytes() == b"parameters"
    assert (folder / "config.json").read_bytes() == b"{}" and len(requests) == 2
    assert name_of(ADDRESS) == "resnet18.tv_in1k"


def test_a_repository_without_a_configuration_is_fetched_once(served, tmp_path, monkeypatch):
    files, _, _ = served
    files[FOLDER + "model.safetensors"] = b"parameters"
    path = fetch(ADDRESS, tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # as on a machine without a network
    assert fetch(ADDRESS, tmp_path) == path


def test_a_file_by_its_address(served, tmp_path):
    files, _, server = served
    assert is_address(f"{server}/x/net.params") and not is_address("x/net.params")
    for folder in "xy":  # many addresses end in the same name
        files[f"/{folder}/net.params"] = folder.encode()
        path = fetch(f"{server}/{folder}/net.params", tmp_path)
        assert path.endswith("/net.params") and Path(path).read_bytes() == folder.encode()
    assert name_of(f"{server}/x/net.params") == "net"


@pytest.mark.parametrize("fault", ["missing file", "missing bytes", "no server"])
def test_what_cannot_be_fetched_names_the_file_and_leaves_nothing(
    served, tmp_path, fault, monkeypatch
):
    files, _, _ = served
    if fault == "missing bytes":
        files[FOLDER + "config.json"] = files[FOLDER + "model.safetensors"] = b"half"
        files["missing"] = 4
    if fault == "no server":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ArgumentError, match=r"fetch http://127.*/main/model\.safetensors, copy"):
        fetch(ADDRESS, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "address", ["hf://timm", "hf://../x", "hf://a/b/c", "https://", "http://a"]
)
def test_addresses_of_no_file(address, tmp_path):
    with pytest.raises(ArgumentError, match=r"^file "):
        fetch(address, tmp_path)
