"""The NATS door with the JavaScript clients: in Node, and over WebSocket in a browser."""

import contextlib
import http.server
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading

import pytest

HERE = pathlib.Path(__file__).resolve().parent / "javascript"
PACKAGES = ["nats@2.29.3", "nats.ws@1.30.3"]
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]


def installed(name, packages):
    """A folder with packages from the npm registry."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("there is no Node.js with npm here (on Debian: apt install nodejs npm)")
    folder = pathlib.Path(os.environ.get("TIDINGS_STREET_FOLDER", tempfile.gettempdir())) / f"tidings-street-{name}"
    mark = folder / "installed.txt"
    if not mark.exists() or mark.read_text() != " ".join(packages):
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *packages]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110)
        if done.returncode != 0:
            pytest.skip(f"the npm registry gives no clients: {done.stderr.strip().splitlines()[-1:]}")
        mark.write_text(" ".join(packages))
    return folder / "node_modules"


@pytest.fixture(scope="module")
def modules():
    return installed("javascript", PACKAGES)


def test_the_client_in_node(node, modules):
    environment = {**os.environ, "NODE_PATH": str(modules)}
    command = ["node", "--no-deprecation", str(HERE / "node.js"), f"nats://{node.nats}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.stdout.strip() == "passed", done.stderr


@contextlib.contextmanager
def in_browser(files, folder):
    """Serves files to a browser. Gives their origin, and what opens one and waits for what it says of itself."""
    browser = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if browser is None:
        pytest.skip("there is no Chromium here (on Debian: apt install chromium)")
    results, told = [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            file = files.get(self.path.split("?")[0])
            self.send_response(200 if file else 404)
            self.send_header("Content-Type", "text/javascript" if self.path.endswith(".js") else "text/html")
            self.end_headers()
            self.wfile.write(file.read_bytes() if file else b"")

        def do_POST(self):
            results.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()
            told.set()

        def log_message(self, *_):
            pass

    def run(path, seconds):
        quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", *quiet]
        command += [f"--user-data-dir={folder}/profile", "--remote-debugging-port=0", origin + path]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            assert told.wait(seconds), "the page said nothing"
        finally:
            process.kill()
            process.wait()
        return results

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{server.server_port}"
    try:
        yield origin, run
    finally:
        server.shutdown()


def test_the_client_in_a_browser(node, modules, tmp_path):
    files = {"/": HERE / "browser.html", "/nats.js": modules / "nats.ws" / "esm" / "nats.js"}
    with in_browser(files, tmp_path) as (_, run):
        assert run(f"/?server=ws://{node.websocket}", 60) == ["passed"]
