"""This project's own history: recorded by the command line, listed, followed live, and shared out."""

import json
import pathlib
import subprocess

import pytest
from conftest import wait_for

ROOT = pathlib.Path(__file__).resolve().parent.parent
FORMAT = "%H%x00%an%x00%aI%x00%s%x01"


def commits():
    try:
        log = subprocess.run(["git", "log", f"--format={FORMAT}"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"there is no git history here: {error}")
    fields = (entry.strip("\n").split("\x00") for entry in log.stdout.split("\x01") if entry.strip())
    return [dict(zip(("hash", "author", "time", "title"), entry)) for entry in fields][::-1]


def emit(node, stream, lines):
    command = [
        "event", "emit", "--ndjson", "--type", "dev.git.commit", "--source", "/git/history", "--id", "{hash}",
        "--time", "{time}", "--ext", "author={author}", "--to", stream.lower() + ".{author}",
    ]
    done = node.run(*command, input="".join(json.dumps(line) + "\n" for line in lines))
    assert done.returncode == 0, done.stderr


def declare(node, stream):
    done = node.run("stream", "add", stream, "--subjects", f"{stream.lower()}.>")
    assert done.returncode == 0, done.stderr


def read(text):
    """The commits in the output of a command with --json: one message a line, or one document."""
    try:
        document = json.loads(text)
        messages = document["messages"] if "messages" in document else [document]
    except json.JSONDecodeError:
        messages = [json.loads(line) for line in text.splitlines() if line]
    return [(message["seq"], message["subject"], json.loads(message["data"])) for message in messages]


def test_the_history_is_listed_by_author(node):
    history = commits()
    declare(node, "LISTED")
    emit(node, "LISTED", history)
    emit(node, "LISTED", history)  # Again: the same facts.
    done = node.run("event", "list", "--stream", "LISTED", "--from", "1", "-n", "100000", "--json")
    assert done.returncode == 0, done.stderr
    listed = read(done.stdout)
    assert [commit for _, _, commit in listed] == history
    for subject, author in {(subject, commit["author"]) for _, subject, commit in listed}:
        done = node.run(
            "event", "list", "--stream", "LISTED", "--filter", subject, "--from", "1", "-n", "100000", "--json")
        assert done.returncode == 0, done.stderr
        assert [commit for _, _, commit in read(done.stdout)] == [c for c in history if c["author"] == author]


def test_commits_are_followed_as_they_arrive(node):
    history = commits()
    declare(node, "FOLLOWED")
    emit(node, "FOLLOWED", history[:1])
    tail = node.spawn("event", "tail", "--stream", "FOLLOWED", "--from", "1", "--count", "4", "--json")
    first = tail.stdout.readline()
    later = [{**history[0], "hash": f"later-{number}", "title": f"later {number}"} for number in range(3)]
    emit(node, "FOLLOWED", later)
    rest, _ = tail.communicate(timeout=60)
    assert tail.returncode == 0
    assert [commit for _, _, commit in read(first) + read(rest)] == [history[0], *later]


def test_two_workers_share_the_history_and_one_is_killed(node, tmp_path):
    history = commits()
    declare(node, "SHARED")
    emit(node, "SHARED", history)
    done = node.run("consumer", "add", "SHARED", "workers", "--ack-wait", "1s")
    assert done.returncode == 0, done.stderr
    take = ["consumer", "next", "SHARED", "workers", "--follow", "--ack", "--json", "-n", "3"]
    written = (tmp_path / "other.ndjson").open("w+")  # A pipe that nobody reads would hold it up.
    doomed, other = node.spawn(*take), node.spawn(*take, stdout=written)
    # The first to be given anything is killed in the middle of its work.
    begun = [doomed.stdout.readline()]
    doomed.kill()
    rest, _ = doomed.communicate()
    begun += rest.splitlines(keepends=True)

    def stands():
        done = node.run("consumer", "info", "SHARED", "workers", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    wait_for(lambda: stands()["ack_floor"] >= len(history), 60, lambda: f"not all done with: {stands()}")
    other.terminate()
    other.wait(timeout=30)
    written.seek(0)
    finished = written.read()
    written.close()
    seen = {commit["hash"] for _, _, commit in read(finished)}
    # What the killed one wrote out and did not acknowledge came to the other; a torn last line counts for nothing.
    for line in begun:
        if line.endswith("\n"):
            seen |= {commit["hash"] for _, _, commit in read(line)}
    assert seen == {commit["hash"] for commit in history}
