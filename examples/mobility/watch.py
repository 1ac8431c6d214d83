#!/usr/bin/env python3
"""States a fact at one node and watches the effective configuration of another, by one clock.

    watch.py appears FROM AT ADDRESS TTL_SECONDS    states it; prints the milliseconds until the claim is there
    watch.py disappears AT ADDRESS SECONDS_MAX      prints the seconds until the claim is gone
"""

import json
import sys
import time
import urllib.request

APPEARS_SECONDS_MAX = 30


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.headers.get("Tidings-Index"), json.load(response)


def claimed(effective, address):
    resources = effective["config"]["spec"]["resources"]
    claims = [each for each in resources if each["kind"] == "AddressClaim"]
    return any(each["spec"]["address"].split("/")[0] == address for each in claims)


def wait(node, index, address, there, seconds_max):
    """Follows the effective configuration until an address is claimed in it, or is not; the moment."""
    end = time.monotonic() + seconds_max
    query = f"?index={index}&wait=1s" if index else ""
    while True:
        index, effective = ask(f"http://{node}/v1/dynamic/effective{query}")
        if claimed(effective, address) == there:
            return time.monotonic()
        if time.monotonic() > end:
            sys.exit(f"FAILED: after {seconds_max} s {address} is {'not ' if there else 'still '}claimed")
        query = f"?index={index}&wait=1s"


def appears(source, at, address, ttl):
    index, effective = ask(f"http://{at}/v1/dynamic/effective")
    if claimed(effective, address):
        sys.exit(f"FAILED: {address} is claimed already")
    fact = {
        "type": "routerd.client.ipv4.observed",
        "id": f"seen-{address}",
        "subject": f"{address}/32",
        "payload": {"address": f"{address}/32", "mac": "aa:bb:cc:dd:ee:ff"},
        "ttl": f"{ttl}s",
    }
    began = time.monotonic()
    ask(f"http://{source}/v1/federation/mobility/events", fact)
    print(f"{(wait(at, index, address, True, APPEARS_SECONDS_MAX) - began) * 1000:.0f}")


def disappears(at, address, seconds_max):
    began = time.monotonic()
    print(f"{wait(at, None, address, False, float(seconds_max)) - began:.2f}")


{"appears": appears, "disappears": disappears}[sys.argv[1]](*sys.argv[2:])
