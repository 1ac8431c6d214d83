#!/bin/sh
# Prints a repository's history as newline-delimited JSON, the oldest commit first.
#
#   commits.sh [REPOSITORY] [GIT-LOG-ARGUMENT...]
#
# One object a line: commit, parents, author, email, date (RFC 3339), summary.
set -eu

repository=${1:-.}
[ $# -eq 0 ] || shift

git -C "$repository" log --reverse --format='%H%x1f%P%x1f%aN%x1f%aE%x1f%aI%x1f%s' "$@" |
    LC_ALL=C awk '
        function text(value) {
            gsub(/\\/, "\\\\", value)
            gsub(/"/, "\\\"", value)
            gsub(/[\001-\037\177]/, " ", value)
            return "\"" value "\""
        }
        BEGIN { FS = "\037" }
        {
            parents = text($2)
            gsub(/ /, "\",\"", parents)
            if ($2 == "") parents = ""
            printf "{\"commit\":%s,\"parents\":[%s],\"author\":%s,\"email\":%s,\"date\":%s,\"summary\":%s}\n",
                text($1), parents, text($3), text($4), text($5), text($6)
        }'
