#!/bin/sh
# Gives a warehouse its first user, a superuser; does nothing if it has users. A server that other machines can reach needs one.
#
# FRAZIL_WAREHOUSE, FRAZIL_CATALOG   which warehouse
# FIRST_USER, FIRST_USER_PASSWORD    who
#
# Any number of these may run at one time.
set -eu
: "${FRAZIL_WAREHOUSE:?}" "${FIRST_USER:?}" "${FIRST_USER_PASSWORD:?}"

# Text with every occurrence of a character written twice, as between quotes in SQL.
doubled() { printf '%s' "$1" | sed "s/$2/$2$2/g"; }

# Whether there are any. The header is a line too. Not in a pipe: a failure would be taken for a warehouse without users.
has_users() {
    users=$(frazil sql -w "$FRAZIL_WAREHOUSE" --format csv -c "SHOW USERS") || exit 1
    [ "$(printf '%s\n' "$users" | wc -l)" -gt 1 ]
}

# Over standard input: command lines can be read by others.
create() {
    printf "CREATE USER \"%s\" SUPERUSER PASSWORD '%s';\n" \
        "$(doubled "$FIRST_USER" '"')" "$(doubled "$FIRST_USER_PASSWORD" "'")" | frazil sql -w "$FRAZIL_WAREHOUSE"
}

# One that fails because another one was faster has what it wants.
if has_users || create || has_users; then
    echo "the warehouse has users"
else
    exit 1
fi
