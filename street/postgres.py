"""A PostgreSQL server for the tests, in a folder of its own, on a port of its own."""

import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile

from conftest import wait_for


def programs():
    """The folder of the newest server that is installed; None: there is none."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    here = shutil.which("postgres")
    return pathlib.Path(here).parent if here else None


class Postgres:
    """The server, running. It refuses to run as root: then it runs as the user that Debian gives it."""

    def __init__(self):
        self.bin = programs()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tidings-postgres-"))
        self.data = self.folder / "data"
        self.user = None
        if os.getuid() == 0:
            self.user = pwd.getpwnam("postgres")
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._run("initdb", "-D", self.data, "-U", "app", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        self.process = None
        self.start()

    def _options(self):
        if self.user is None:
            return {"cwd": self.folder}
        return {"cwd": self.folder, "user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def _run(self, program, *arguments):
        command = [str(self.bin / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, **self._options())
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self):
        command = [self.bin / "postgres", "-D", self.data, "-p", str(self.port), "-k", self.folder]
        command += ["-c", "listen_addresses=127.0.0.1"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, **self._options())
        wait_for(self._ready, 60, lambda: (self.folder / "log").read_text())

    def _ready(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        command = [str(self.bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "app"]
        return subprocess.run(command, timeout=30).returncode == 0

    @property
    def url(self):
        return f"postgres://app@127.0.0.1:{self.port}/postgres"

    def sql(self, text):
        """The rows that a statement gives, each a list of texts."""
        command = [str(self.bin / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-F", "\x1f", self.url, "-c", text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [line.split("\x1f") for line in done.stdout.splitlines()]

    def crash(self):
        """As if the machine had lost it: no checkpoint, no goodbye."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)
