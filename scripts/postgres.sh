#!/bin/sh
# Brings a PostgreSQL server for the tests, where there is none and this may be done: as root, with apt-get.
# Says nothing where there is one, and never fails: without a server its tests are skipped, and say why.
set -u
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && exit 0
command -v initdb >/dev/null 2>&1 && exit 0
[ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1 || exit 0

echo "installing a PostgreSQL server for the tests (once)"
# The tests start their own: the package shall neither make a database of its own nor start it.
conf=/etc/postgresql-common/createcluster.d/changeover-tests.conf
mkdir -p "$(dirname "$conf")" && echo "create_main_cluster = false" >"$conf"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
install="apt-get install --yes --quiet --no-install-recommends postgresql"
if ! { $install || { apt-get update --quiet && $install; }; } >"$log" 2>&1 </dev/null; then
  echo "PostgreSQL could not be installed; its tests are skipped:"
  tail -n 3 "$log"
fi
rm -f "$conf" "$log"
rmdir "$(dirname "$conf")" 2>/dev/null
exit 0
