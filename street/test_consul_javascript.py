"""The Consul door with the client `consul` of npm, in Node."""

import os
import subprocess

from test_javascript import HERE, installed

PACKAGES = ["consul@2.0.1"]


def test_the_client_in_node(catalogue):
    environment = {**os.environ, "NODE_PATH": str(installed("consul", PACKAGES))}
    command = ["node", "--no-deprecation", str(HERE / "consul.js"), catalogue.doors["consul"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.stdout.strip() == "passed", done.stderr
