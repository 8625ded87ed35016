#!/usr/bin/env bash
# Runs a command in a clone of this project's last commit on a fresh Debian, which has python3, venv, make and git only.
#
#   tools/fresh_machine.sh trixie             Python 3.13: make demo, make test
#   tools/fresh_machine.sh forky make test    Python 3.14: one of them
#
# As root, with debootstrap installed. The machine is a folder below FRESH_MACHINES (/var/tmp/fresh-machines), which is
# made once (half a gigabyte, a minute) and keeps what pip has downloaded; the clone is new each time. Pip's settings are
# this machine's.
set -euo pipefail

die() { echo "fresh_machine.sh: $1" >&2; exit 2; }
suite=${1:-}
[ -n "$suite" ] || die "name a suite of Debian: tools/fresh_machine.sh trixie"
shift
command=${*:-make demo test}
[ "$(id -u)" = 0 ] || die "chroot needs root: sudo tools/fresh_machine.sh $suite"
command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
project=$(cd "$(dirname "$0")/.." && pwd)
root=${FRESH_MACHINES:-/var/tmp/fresh-machines}/$suite

if [ ! -e "$root/made" ]; then
  rm -rf "$root"
  mkdir -p "$root"
  # An older debootstrap knows no newer suite by name; all since etch are made alike.
  recipe=/usr/share/debootstrap/scripts/$suite
  [ -e "$recipe" ] || recipe=/usr/share/debootstrap/scripts/sid
  debootstrap --variant=minbase --include=ca-certificates,git,make,python3,python3-venv "$suite" "$root" "" "$recipe" \
    >"$root.log" 2>&1 || die "debootstrap failed: $(tail -n 1 "$root.log")"
  touch "$root/made"
fi
for file in /etc/resolv.conf /etc/pip.conf /etc/xdg/pip ~/.config/pip /etc/ssl/certs/ca-certificates.crt; do
  [ -e "$file" ] || continue
  mkdir -p "$root$(dirname "$file")"
  rm -rf "${root:?}$file"
  cp -rL "$file" "$root$file"
done
rm -rf "$root/root/aelle"
git clone --quiet "$project" "$root/root/aelle"

# What runs in it sees its own processes and mounts only, and ends with this script.
settings=$(env | grep -E '^(PIP_(CERT|INDEX_URL|EXTRA_INDEX_URL|DEFAULT_TIMEOUT)|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|https?_proxy)=' || true)
exec unshare --mount --pid --fork --kill-child bash -euc '
  root=$1 command=$2
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/dev/shm"
  mapfile -t settings <<<"$3"
  exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM="${TERM:-dumb}" \
    ${3:+"${settings[@]}"} bash -c "cd && cd aelle && python3 --version && $command"
' fresh_machine "$root" "$command" "$settings"
