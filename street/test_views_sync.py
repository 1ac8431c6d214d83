"""Views kept in a database: the service, the node and the database are killed while another process publishes users."""

import json
import os
import pathlib
import random
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests

import postgres
from conftest import wait_for
from test_views import declare, position, publish, rows, state

SEED = 20261121

COLUMNS = ["--column", "user_id=$key", "--column", "username:text:required:unique", "--column", "n:integer"]

# Another process: it publishes users over HTTP until it is told to end, and goes on where the node comes back.
PUBLISHER = """
import json, random, sys, time, requests
url, view, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
chance, number, session = random.Random(seed), 0, requests.Session()
while True:
    user = chance.randrange(200)
    gone = chance.random() < 0.2
    body = b"x" if gone else json.dumps({"username": f"name{user}-{chance.randrange(3)}", "n": number}).encode()
    subject = f"{view}.u{user}." + ("deleted" if gone else "updated")
    try:
        session.post(f"{url}/v1/publish/{subject}", data=body, timeout=10)
        number += 1
    except requests.RequestException:
        time.sleep(0.05)
"""


running = []


@pytest.fixture(autouse=True)
def no_service_outlives_its_test():
    yield
    while running:
        process = running.pop()
        process.kill()
        process.wait()


class Service:
    """The service whose cache is kept: `tidings view sync`."""

    def __init__(self, node, view, to, log, *flags):
        self.node, self.log = node, log
        self.arguments = ["view", "sync", "--view", view, "--to", to, "--table", "user_cache", *flags]
        self.process = None

    def start(self):
        environment = {**os.environ, "TIDINGS_SERVER": self.node.url(), "NO_COLOR": "1"}
        with self.log.open("ab") as log:
            command = [self.node.binary, *self.arguments]
            self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        running.append(self.process)

    def kill(self):
        self.process.kill()
        self.process.wait()


def table_of_sqlite(path):
    with sqlite3.connect(path, timeout=30) as connection:
        return {key: {"username": name, "n": n} for key, name, n in connection.execute("SELECT user_id, username, n FROM user_cache")}


def table_of_postgres(server):
    return {key: {"username": name, "n": int(n)} for key, name, n in server.sql("SELECT user_id, username, n FROM user_cache")}


def equal(table, node, view):
    """Waits until a table is what its view is."""

    def same():
        try:
            return table() == rows(node, view)
        except (sqlite3.OperationalError, AssertionError):
            return False

    def complaint():
        found, wanted = table(), rows(node, view)
        return {key: (found.get(key), wanted.get(key)) for key in found | wanted if found.get(key) != wanted.get(key)}

    wait_for(same, 60, complaint)


def storm(node, view, service, table, rounds, disturb):
    """Kills what `disturb` says, at random moments, while users are published; the table equals the view every time."""
    chance = random.Random(SEED)
    service.start()
    for round_ in range(rounds):
        publisher = subprocess.Popen([sys.executable, "-c", PUBLISHER, node.url(), view, str(round_)])
        running.append(publisher)
        time.sleep(0.3 + chance.random())
        disturb(chance)
        time.sleep(0.2 + chance.random() / 2)
        publisher.kill()
        publisher.wait()
        wait_for(lambda: state(node, view) == "ready", 60, lambda: state(node, view))
        equal(table, node, view)
    service.kill()


def test_a_cache_in_sqlite_equals_its_view_whatever_is_killed(own_node, tmp_path):
    view = declare(own_node)
    path = tmp_path / "users.db"
    service = Service(own_node, view, f"sqlite:{path}", tmp_path / "sync.log", *COLUMNS)

    def disturb(chance):
        for _ in range(4):
            if chance.random() < 0.3:
                own_node.kill()
                time.sleep(chance.random() / 5)
                own_node.start()
            service.kill()
            time.sleep(chance.random() / 10)
            service.start()
            time.sleep(chance.random() / 3)

    storm(own_node, view, service, lambda: table_of_sqlite(path), 4, disturb)


@pytest.fixture(scope="module")
def server():
    if postgres.programs() is None:
        pytest.skip("there is no PostgreSQL here (on Debian: apt install postgresql)")
    running = postgres.Postgres()
    yield running
    running.close()


def test_a_cache_in_postgresql_equals_its_view_whatever_is_killed(own_node, tmp_path, server):
    view = declare(own_node)
    server.sql("DROP TABLE IF EXISTS user_cache")
    service = Service(own_node, view, server.url, tmp_path / "sync.log", *COLUMNS)

    def disturb(chance):
        for _ in range(3):
            if chance.random() < 0.3:
                own_node.kill()
                own_node.start()
            if chance.random() < 0.4:
                server.crash()
                time.sleep(chance.random() / 5)
                server.start()
            if chance.random() < 0.7:
                service.kill()
                service.start()
            time.sleep(chance.random() / 2)

    storm(own_node, view, service, lambda: table_of_postgres(server), 4, disturb)
    recorded = server.sql(f"SELECT position FROM tidings_positions WHERE view = '{view}'")
    assert int(recorded[0][0]) <= position(own_node, view)


def test_two_services_may_keep_one_table(node, tmp_path, server):
    view = declare(node)
    server.sql("DROP TABLE IF EXISTS user_cache")
    services = [Service(node, view, server.url, tmp_path / f"sync{number}.log", *COLUMNS) for number in range(2)]
    [service.start() for service in services]
    for number in range(200):
        publish(node, view, f"u{number % 20}", {"username": f"name{number % 20}", "n": number})
    equal(lambda: table_of_postgres(server), node, view)
    [service.kill() for service in services]


def test_what_depends_on_a_user_goes_with_it_in_one_transaction(node, tmp_path, server):
    view = declare(node, version={"path": "version"}, remove={"types": ["user.deleted"]})
    server.sql("DROP TABLE IF EXISTS user_cache, namespaces")
    server.sql("CREATE TABLE namespaces (name text PRIMARY KEY, owner_id uuid)")
    user, other = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
    server.sql(f"INSERT INTO namespaces VALUES ('n', '{user}')")
    # A table that is there already, with types of its own.
    server.sql("CREATE TABLE user_cache (user_id uuid PRIMARY KEY, username varchar(20) NOT NULL, scopes jsonb, version int)")
    flags = ["--column", "user_id=$key", "--column", "username", "--column", "scopes:json", "--column", "version:integer"]
    flags += ["--version", "version", "--no-create"]
    flags += ["--on-delete", "UPDATE namespaces SET owner_id = NULL WHERE owner_id = $1"]
    service = Service(node, view, server.url, tmp_path / "sync.log", *flags)
    service.start()
    publish(node, view, user, {"username": "ann", "scopes": {"a": [1]}, "version": 3})
    publish(node, view, user, {"username": "old", "version": 2})
    publish(node, view, other, {"username": "bob", "version": 1})
    held = lambda: server.sql("SELECT username, scopes, version FROM user_cache ORDER BY username")
    wait_for(lambda: held() == [["ann", '{"a": [1]}', "3"], ["bob", "", "1"]], 30, held)
    # A row that the table refuses is left out and told; what comes behind it goes on.
    publish(node, view, other, {"username": "x" * 21, "version": 2})
    answer = requests.post(node.url(f"/v1/publish/{view}.{user}"), data=b"x", headers={"ce-type": "user.deleted"}, timeout=30)
    assert answer.status_code in (200, 201)
    wait_for(lambda: held() == [["bob", "", "1"]], 30, held)
    assert server.sql("SELECT owner_id IS NULL FROM namespaces") == [["t"]]
    wait_for(lambda: "value too long" in service.log.read_text(), 30, service.log.read_text)
    service.kill()


class Owner(BaseHTTPRequestHandler):
    """The service that owns the users, with its list of them."""

    def do_GET(self):
        known = self.headers.get("X-Service-Key") == "s3cret"
        body = json.dumps(self.server.users if known else {"error": "unauthorized"}).encode()
        self.send_response(200 if known else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_cache_begins_with_the_owners_list_and_serves_while_the_node_is_away(own_node, tmp_path):
    owner = HTTPServer(("127.0.0.1", 0), Owner)
    owner.users = [{"user_id": "early", "username": "from before the stream", "n": 0}]
    threading.Thread(target=owner.serve_forever, daemon=True).start()
    secret, path, log = tmp_path / "key", tmp_path / "users.db", tmp_path / "sync.log"
    secret.write_text("s3cret\n")
    view = declare(own_node)
    flags = ["--startup-url", f"http://127.0.0.1:{owner.server_port}/api/users", "--startup-header", "X-Service-Key"]
    flags += ["--startup-secret-file", str(secret), "--reconcile", "1s"]
    service = Service(own_node, view, f"sqlite:{path}", log, *COLUMNS, *flags)
    own_node.kill()
    service.start()

    def users():
        try:
            return sorted(table_of_sqlite(path))
        except sqlite3.OperationalError:
            return None

    # The node is away, and the owner's list is there.
    wait_for(lambda: users() == ["early"], 30, users)
    wait_for(lambda: "warning: the node cannot be reached" in log.read_text(), 30, log.read_text)
    own_node.start()
    publish(own_node, view, "u1", {"username": "ann", "n": 1})
    wait_for(lambda: users() == ["early", "u1"], 60, users)
    # What the owner lists no more, and the view does not hold, goes when both are compared.
    owner.users = []
    wait_for(lambda: users() == ["u1"], 60, users)
    assert "s3cret" not in log.read_text()
    service.kill()
    owner.shutdown()


def test_a_small_service_with_its_cache_answers_from_it(own_node, tmp_path):
    """The example of the client crate: killed and restarted, it answers as the view does."""
    example = pathlib.Path(own_node.binary).parent / "examples" / "users"
    if not example.exists():
        pytest.skip(f"the example is not built: {example}")
    requests.put(own_node.url("/v1/streams/AUTH"), json={"subjects": ["auth.>"]}, timeout=30)
    spec = {"stream": "AUTH", "filters": ["auth.user.*.*"], "key": {"tokens": [3]}, "remove": {"subjects": ["auth.user.*.deleted"]}}
    resource = {"apiVersion": "tidings.dev/v1", "kind": "View", "metadata": {"name": "users"}, "spec": spec}
    assert requests.post(own_node.url("/v1/resources"), json=resource, timeout=30).status_code == 200
    chance, names = random.Random(SEED), {}
    for round_ in range(5):
        for _ in range(20):
            user = f"u{chance.randrange(8)}"
            names[user] = None if chance.random() < 0.2 else f"{user} in round {round_} {chance.random()}"
            action, body = ("deleted", b"x") if names[user] is None else ("created", json.dumps({"username": names[user]}).encode())
            assert requests.post(own_node.url(f"/v1/publish/auth.user.{user}.{action}"), data=body, timeout=30).status_code == 201
        command = [str(example), own_node.url(), str(tmp_path / "users.db")]
        service = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert service.stdout.readline() == "ready\n"

        def answers():
            told = {}
            for user in names:
                service.stdin.write(f"{user}\n")
                service.stdin.flush()
                told[user] = service.stdout.readline().rstrip("\n")
            return told

        wanted = {user: name or "nobody" for user, name in names.items()}
        wait_for(lambda: answers() == wanted, 30, lambda: (answers(), wanted))
        service.kill()
        service.wait()
