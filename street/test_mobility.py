"""The example examples/mobility, as its reader runs it."""

import os
import pathlib
import shutil
import subprocess

import pytest

EXAMPLE = pathlib.Path(__file__).parent.parent / "examples" / "mobility"
# The binary of the tests is not optimised, and the machine runs other tests; a reader's may take 100 ms.
LIMIT_MS = 1_000


@pytest.mark.timeout(110)
def test_an_observed_address_is_claimed_and_given_back():
    if not shutil.which("python3"):
        pytest.skip("the example's plugin needs python3 on the path")
    environment = {
        **os.environ, "TIDINGS": os.environ["TIDINGS_BINARY"], "LIMIT_MS": str(LIMIT_MS), "TTL": "4", "NO_COLOR": "1",
    }
    done = subprocess.run(
        ["sh", str(EXAMPLE / "run.sh")], capture_output=True, text=True, timeout=100, env=environment
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every address was claimed and given back" in done.stdout
