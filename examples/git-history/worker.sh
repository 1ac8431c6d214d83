#!/bin/sh
# Takes commits from the consumer `review` one at a time, works on each, then acknowledges it.
#
#   worker.sh NAME
#
# Ends when nothing has come for a while. TIDINGS is the binary; WORK_SECONDS is how long one commit takes.
set -eu

name=$1
tidings=${TIDINGS:-tidings}

while delivery=$("$tidings" consumer next EVENTS review --wait 3s --json) && [ -n "$delivery" ]; do
    token=$(printf '%s\n' "$delivery" | sed 's/.*"token":"\([^"]*\)".*/\1/')
    commit=$(printf '%s\n' "$delivery" | sed 's/.*"ce-id":\["\([0-9a-f]*\)"\].*/\1/')
    attempt=$(printf '%s\n' "$delivery" | sed 's/.*"attempt":\([0-9]*\).*/\1/')
    echo "$name takes $commit (delivery $attempt)"
    sleep "${WORK_SECONDS:-0.05}"
    "$tidings" consumer ack EVENTS review "$token" >/dev/null
    echo "$name did $commit"
done
