#!/bin/sh
# Brings a browser for the tests of the pages, where there is none and this may be done: as root, with apt-get.
# Says nothing where there is one, and never fails: without a browser its tests are skipped, and say why.
set -u
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null 2>&1 && exit 0
done
[ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1 || exit 0

echo "installing a browser for the tests (once)"
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
install="apt-get install --yes --quiet --no-install-recommends chromium"
if ! { $install || { apt-get update --quiet && $install; }; } >"$log" 2>&1 </dev/null; then
  echo "Chromium could not be installed; its tests are skipped:"
  tail -n 3 "$log"
fi
rm -f "$log"
exit 0
