#!/bin/sh
# The whole example in one go: two nodes on this machine, in scratch folders and on free ports. Prints each step
# with its time, cleans up, and ends with an error where a step is not as it must be.
#
#   run.sh
#
# TIDINGS names the binary; LIMIT_MS is how long an address may take from its observation to its claim (100).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tidings=${TIDINGS:-tidings}
limit_ms=${LIMIT_MS:-100}
ttl=${TTL:-6}
grace=${GRACE:-1}
scratch=$(mktemp -d)
site_a='' cloud='' site_a_pid='' cloud_pid=''

finish() {
    for job in $site_a_pid $cloud_pid; do kill "$job" 2>/dev/null || true; done
    for job in $site_a_pid $cloud_pid; do wait "$job" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 1' INT TERM

fail() {
    echo "FAILED: $1" >&2
    for log in "$scratch"/*.log; do echo "--- $log" >&2; tail -n 20 "$log" >&2; done
    exit 1
}

# Looks at a condition until it holds; gives up after a minute.
until_true() {
    what=$1
    shift
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 1200 ] || fail "$what"
        sleep 0.05
    done
}

start() {
    # Plugins find their interpreter by the node's PATH; the system's own starts sooner than a version manager's.
    PATH="/usr/bin:/bin:$PATH" "$tidings" serve --node "$1" --data "$scratch/$1" --http 127.0.0.1:0 --nats off --hub off --consul off --dns off --slim off \
        >"$scratch/$1.log" 2>&1 &
}

address() { sed -n 's/.*"http":"\([^"]*\)".*/\1/p' "$scratch/$1/ports.json" 2>/dev/null; }
listens() { [ -n "$(address "$1")" ]; }
on() {
    server=$1
    shift
    TIDINGS_SERVER="http://$server" "$tidings" "$@"
}

# A file of resources with what is only known now; the node takes them up without a restart.
declare_at() {
    sed -e "s|@SECRET@|$scratch/secret|" -e "s|@HERE@|$here|" -e "s|@GRACE@|$grace|" \
        -e "s|@SITE_A@|$site_a|" -e "s|@CLOUD@|$cloud|" "$here/$2" >"$scratch/$2"
    on "$1" apply -f "$scratch/$2" || fail "$2 was not taken"
}

observed_at() {
    on "$1" event emit --group mobility --type routerd.client.ipv4.observed \
        --subject "$2/32" --payload "address=$2/32" --ttl 60s
}

facts_at() { on "$1" event list --group mobility --json 2>/dev/null | grep -c "$2"; }
knows() { [ "$(facts_at "$1" "$2")" -ge 1 ]; }

echo "== two nodes, each with a folder of its own"
od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$scratch/secret"
chmod 600 "$scratch/secret"
start site-a
site_a_pid=$!
start cloud
cloud_pid=$!
until_true "site-a did not start" listens site-a
until_true "cloud did not start" listens cloud
site_a=$(address site-a)
cloud=$(address cloud)
echo "site-a $site_a, cloud $cloud"

echo "== groups, peers, plugin and subscription"
declare_at "$site_a" site-a.yaml
declare_at "$cloud" cloud.yaml

echo "== addresses are observed at site A; each becomes a claim at the cloud"
times=''
for last in 5 6 7 8 9; do
    took=$(python3 "$here/watch.py" appears "$site_a" "$cloud" "10.88.60.$last" "$ttl") || fail "$took"
    echo "10.88.60.$last: $took ms from observed to claimed"
    times="$times $took"
done
median=$(printf '%s\n' $times | sort -n | sed -n 3p)
[ "$median" -le "$limit_ms" ] || fail "the median is $median ms, more than $limit_ms ms"
echo "median $median ms (at most $limit_ms)"

echo "== the cloud may not observe what it claims itself"
if observed_at "$cloud" 10.88.60.9 >"$scratch/refused" 2>&1; then
    fail "an observation of a claimed address was taken"
fi
cat "$scratch/refused"
grep -q 'AddressClaim/host-10-88-60-9' "$scratch/refused" || fail "the refusal does not name the claim"

echo "== where the claim comes from, and where the fact went"
on "$cloud" dynamic explain AddressClaim/host-10-88-60-9 || fail "the claim cannot be explained"
on "$site_a" event trace seen-10.88.60.9 || fail "the fact cannot be traced"

echo "== the facts expire after $ttl s, the claims $grace s later"
took=$(python3 "$here/watch.py" disappears "$cloud" 10.88.60.9 "$((ttl + grace + 30))") || fail "$took"
echo "10.88.60.9 is claimed no more ($took s after it was traced)"

echo "== now the cloud may observe it; site A hears of that, and nothing of its own came back"
observed_at "$cloud" 10.88.60.9 || fail "an observation of an address that nobody claims was refused"
until_true "site-a did not hear of it" knows "$site_a" '10.88.60.9'
on "$site_a" event list --group mobility
recorded=$(on "$site_a" stream info FED_mobility --json | sed -n 's/.*"last_seq": *\([0-9]*\).*/\1/p')
[ "$recorded" -eq 6 ] || fail "site-a recorded $recorded facts, not the five it observed and the one it heard of"
echo "== every address was claimed and given back"
