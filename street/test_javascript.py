"""The NATS door with the JavaScript clients: in Node, and over WebSocket in a browser."""

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


@pytest.fixture(scope="module")
def modules():
    """A folder with the clients, from the npm registry."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("there is no Node.js with npm here (on Debian: apt install nodejs npm)")
    folder = pathlib.Path(os.environ.get("TIDINGS_STREET_FOLDER", tempfile.gettempdir())) / "tidings-street-javascript"
    mark = folder / "installed.txt"
    if not mark.exists() or mark.read_text() != " ".join(PACKAGES):
        folder.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110)
        if done.returncode != 0:
            pytest.skip(f"the npm registry gives no clients: {done.stderr.strip().splitlines()[-1:]}")
        mark.write_text(" ".join(PACKAGES))
    return folder / "node_modules"


def test_the_client_in_node(node, modules):
    environment = {**os.environ, "NODE_PATH": str(modules)}
    command = ["node", "--no-deprecation", str(HERE / "node.js"), f"nats://{node.nats}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.stdout.strip() == "passed", done.stderr


def served(modules, results):
    """What the browser asks for, and where it says how it went."""
    files = {"/": HERE / "browser.html", "/nats.js": modules / "nats.ws" / "esm" / "nats.js"}

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

    told = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, told


def test_the_client_in_a_browser(node, modules, tmp_path):
    browser = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if browser is None:
        pytest.skip("there is no Chromium here (on Debian: apt install chromium)")
    results = []
    server, told = served(modules, results)
    page = f"http://127.0.0.1:{server.server_port}/?server=ws://{node.websocket}"
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", *quiet]
    command += [f"--user-data-dir={tmp_path}", "--remote-debugging-port=0", page]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        assert told.wait(60), "the page said nothing"
    finally:
        process.kill()
        process.wait()
        server.shutdown()
    assert results == ["passed"]
