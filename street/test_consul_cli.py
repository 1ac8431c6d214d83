"""`tidings catalog`, `tidings watch` and `tidings kv`."""

import json
import os
import subprocess

from conftest import wait_for

PATIENCE = 20


def good(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_services_are_registered_listed_and_taken_out(catalogue, tmp_path):
    file = tmp_path / "web.json"
    file.write_text(json.dumps({"service": {"name": "cli-web", "port": 80, "tags": ["v1"], "check": {"ttl": "1m"}}}))
    assert "registered cli-web" in good(catalogue.run("catalog", "register", str(file)))
    far = {"Node": "cli-far", "Address": "192.0.2.1", "Service": {"Service": "cli-web", "ID": "far"}}
    good(catalogue.run("catalog", "register", "-", input=json.dumps(far)))
    listing = good(catalogue.run("catalog", "services"))
    assert "cli-web" in listing and "v1" in listing
    assert "cli-far" in good(catalogue.run("catalog", "nodes"))
    shown = good(catalogue.run("catalog", "service", "cli-web"))
    assert "critical" in shown and "passing" in shown and "192.0.2.1:0" in shown
    passing = json.loads(good(catalogue.run("catalog", "service", "cli-web", "--passing", "--json")))
    assert [instance["Service"]["ID"] for instance in passing] == ["far"]
    good(catalogue.run("catalog", "deregister", "far", "--node", "cli-far"))
    good(catalogue.run("catalog", "deregister", "cli-web"))
    gone = catalogue.run("catalog", "service", "cli-web")
    assert gone.returncode == 4 and "there is no such instance" in gone.stderr
    refused = catalogue.run("catalog", "register", "-", input='{"Tagss": 1}')
    assert refused.returncode == 1 and "unknown field" in refused.stderr


def test_keys(catalogue):
    good(catalogue.run("kv", "put", "cli/a", "1", "--flags", "7"))
    assert good(catalogue.run("kv", "get", "cli/a")) == "1"
    [pair] = json.loads(good(catalogue.run("kv", "get", "cli/a", "--json")))
    good(catalogue.run("kv", "put", "cli/a", "-", "--cas", str(pair["ModifyIndex"]), input="2"))
    again = catalogue.run("kv", "put", "cli/a", "3", "--cas", str(pair["ModifyIndex"]))
    assert again.returncode == 1 and "somebody else" in again.stderr
    good(catalogue.run("kv", "put", "cli/b", "x"))
    assert good(catalogue.run("kv", "ls", "cli/")).split() == ["cli/a", "cli/b"]
    assert "cli/b" in good(catalogue.run("kv", "ls", "cli/", "--long"))
    good(catalogue.run("kv", "rm", "cli/", "--recurse"))
    assert json.loads(good(catalogue.run("kv", "ls", "cli/", "--json"))) == []
    assert catalogue.run("kv", "get", "cli/a").returncode == 4


def watching(node, folder, *arguments):
    """A watch that writes each result to a file of its own, and how to read them."""
    out = folder / "results"
    out.mkdir()
    script = f'n=$(ls {out} | wc -l); cat > {out}/.new; mv {out}/.new {out}/$n'
    environment = {**os.environ, "CONSUL_HTTP_ADDR": node.url()}
    command = [os.environ["TIDINGS_BINARY"], *arguments, "--", "sh", "-c", script]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)

    def result(number):
        wait_for(lambda: (out / str(number)).exists(), PATIENCE, lambda: f"no result {number}")
        return (out / str(number)).read_text()

    return process, result


def test_a_command_is_run_on_each_change_also_behind_a_restart(own_catalogue, tmp_path):
    node = own_catalogue
    process, result = watching(node, tmp_path, "watch", "service", "web")
    assert json.loads(result(0)) == []
    node.register("web", Port=1)
    assert [each["Service"]["Port"] for each in json.loads(result(1))] == [1]
    node.kill()
    node.start()
    node.register("web", Port=2)
    assert [each["Service"]["Port"] for each in json.loads(result(2))] == [2]
    process.kill()
    assert "waiting for the node" in process.communicate()[1]


def test_a_key_is_watched_before_it_is_there(catalogue, tmp_path):
    process, result = watching(catalogue, tmp_path, "kv", "watch", "cli-awaited")
    assert result(0) == ""
    good(catalogue.run("kv", "put", "cli-awaited", "here"))
    assert json.loads(result(1))[0]["Key"] == "cli-awaited"
    process.kill()
    process.communicate()


def test_what_the_command_ends_with_is_told(catalogue):
    done = catalogue.run("watch", "services", "--times", "1", "--", "sh", "-c", "exit 3")
    assert done.returncode == 1 and "exit status: 3" in done.stderr
    done = catalogue.run("watch", "nodes", "--times", "1")
    assert done.returncode == 0 and json.loads(done.stdout)
    done = catalogue.run("watch", "services", "--times", "1", "--", "/no/such/program")
    assert done.returncode == 2 and "cannot run" in done.stderr


def test_a_door_that_is_not_there_is_told(catalogue):
    own = {**os.environ}
    own.pop("CONSUL_HTTP_ADDR", None)
    assert good(catalogue.run("catalog", "services", "--data", str(catalogue.data), env=own))
    away = catalogue.run("catalog", "services", "--consul", "http://127.0.0.1:1", env=own)
    assert away.returncode == 3 and "--consul" in away.stderr
