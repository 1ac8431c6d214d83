#!/usr/bin/env -S python3 -IS
"""A plugin: each address that is observed elsewhere becomes an address that this node claims.

Reads a PluginRequest as JSON from standard input and writes a PluginResult to standard output; a failure is an
exit code other than 0, with its reason on standard error. Nothing is kept between two calls.
"""

import ipaddress
import json
import os
import sys

# How long the claims hold where their facts name no end; facts that expire earlier end them earlier.
TTL = "10m"


def claim(event):
    text = event.get("payload", {}).get("address") or event.get("subject", "")
    address = ipaddress.ip_interface(text).ip
    return {
        "apiVersion": "tidings.dev/v1",
        "kind": "AddressClaim",
        "metadata": {"name": "host-" + str(address).replace(".", "-").replace(":", "-")},
        "spec": {"address": str(address), "node": os.environ["CLAIM_NODE"], "pool": os.environ["CLAIM_POOL"]},
    }


def main():
    request = json.load(sys.stdin)
    # The same address may be in several facts of one request: it is claimed once.
    claims = {each["metadata"]["name"]: each for each in map(claim, request["spec"]["events"])}
    result = {
        "apiVersion": request["apiVersion"],
        "kind": "PluginResult",
        "status": {"ttl": TTL, "resources": [claims[name] for name in sorted(claims)]},
    }
    json.dump(result, sys.stdout)


main()
