#!/bin/sh
# The whole example in one go, against the node that TIDINGS_SERVER names (or the one on this machine):
# records a repository's history, lists it by author, follows it live, and has two workers take it, one
# of which is killed at its work. Ends with an error if a commit is missing anywhere.
#
#   run.sh [REPOSITORY]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
repository=${1:-$here}
tidings=${TIDINGS:-tidings}
export TIDINGS="$tidings"
scratch=$(mktemp -d)
followed='events.git.commit.*'

finish() {
    for job in ${follower:-} ${first:-} ${second:-}; do kill "$job" 2>/dev/null || true; done
    "$tidings" consumer rm EVENTS review --yes >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap finish EXIT

emit() {
    "$tidings" event emit --ndjson --resume "$scratch/state" --type dev.git.commit --source /git-history \
        --id '{commit}' --time '{date}' --subject '{commit}' --ext author='{author}' \
        --to 'events.git.commit.{author}'
}

fail() {
    echo "FAILED: $1" >&2
    exit 1
}

sh "$here/commits.sh" "$repository" >"$scratch/all"
commits=$(wc -l <"$scratch/all")
[ "$commits" -ge 2 ] || fail "$repository has fewer than two commits"
echo "== $commits commits, one event each; all but the newest now"
head -n "$((commits - 1))" "$scratch/all" | emit

echo "== who wrote how much"
"$tidings" stream info EVENTS --subjects "$followed" | sed -n '/^SUBJECT/,$p'

echo "== the newest of each author"
"$tidings" event list --filter "$followed" --last-per-subject

echo "== followed live, while the newest commit arrives"
"$tidings" event tail --filter "$followed" --from 1 --count "$commits" --json >"$scratch/live" &
follower=$!
emit <"$scratch/all"
wait "$follower" || fail "following ended early"
follower=
tail -n 1 "$scratch/live"
[ "$(wc -l <"$scratch/live")" -eq "$commits" ] || fail "followed $(wc -l <"$scratch/live") of $commits commits"

echo "== two workers; the first is killed at its work"
"$tidings" consumer add EVENTS review --filter "$followed" --ack-wait 2s >/dev/null
WORK_SECONDS=30 sh "$here/worker.sh" first >"$scratch/first" &
first=$!
while ! grep -q takes "$scratch/first"; do sleep 0.1; done
kill -9 "$first"
first=
sh "$here/worker.sh" second >"$scratch/second" &
second=$!
wait "$second"
second=
cat "$scratch/first"
grep -c did "$scratch/second" | sed 's/^/second did /'
grep 'delivery 2' "$scratch/second" || fail "what the first worker had was not delivered again"
done=$(grep ' did ' "$scratch/second" | sort -u | wc -l)
[ "$done" -eq "$commits" ] || fail "$done of $commits commits were worked on"
"$tidings" consumer info EVENTS review
echo "== every commit was recorded, followed and worked on"
