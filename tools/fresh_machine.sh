#!/usr/bin/env bash
# Runs a command in a clone of this project's last commit on a fresh Debian with only python3, venv, make and git.
#
#   tools/fresh_machine.sh trixie             Python 3.13: make demo, make test
#   tools/fresh_machine.sh forky make test    Python 3.14: one of them
#
# Needs root and debootstrap. The machine is a folder below FRESH_MACHINES (default: /var/tmp/fresh-machines). It is
# created once (half a gigabyte, a minute) and keeps pip's downloads; the clone is new each time. pip's settings are
# copied from this machine.
set -euo pipefail

die() { echo "fresh_machine.sh: $1" >&2; exit 2; }
suite=${1:-}
[ -n "$suite" ] || die "no Debian suite given: run e.g. tools/fresh_machine.sh trixie"
shift
command=${*:-make demo test}
[ "$(id -u)" = 0 ] || die "chroot needs root: run sudo tools/fresh_machine.sh $suite"
command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
project=$(cd "$(dirname "$0")/.." && pwd)
home=/home/user
root=${FRESH_MACHINES:-/var/tmp/fresh-machines}/$suite

if [ ! -e "$root/made" ]; then
  rm -rf "$root"
  mkdir -p "$root"
  # An old debootstrap does not know newer suites; all since etch are installed the same way.
  recipe=/usr/share/debootstrap/scripts/$suite
  [ -e "$recipe" ] || recipe=/usr/share/debootstrap/scripts/sid
  debootstrap --variant=minbase --include=ca-certificates,git,make,python3,python3-venv "$suite" "$root" "" "$recipe" \
    >"$root.log" 2>&1 || die "debootstrap failed: $(tail -n 1 "$root.log")"
  touch "$root/made"
fi
copy() { # FROM TO: a file or folder of this machine into the other, where there is one
  [ -e "$1" ] || return 0
  mkdir -p "$root$(dirname "$2")"
  rm -rf "${root:?}$2"
  cp -rL "$1" "$root$2"
}
for file in /etc/resolv.conf /etc/pip.conf /etc/xdg/pip /etc/ssl/certs/ca-certificates.crt; do copy "$file" "$file"; done
copy ~/.config/pip "$home/.config/pip"
rm -rf "$root$home/aelle"
git clone --quiet "$project" "$root$home/aelle"

# The command sees only its own processes and mounts, and is killed when this script ends.
settings=$(env | grep -E '^(PIP_(CERT|INDEX_URL|EXTRA_INDEX_URL|DEFAULT_TIMEOUT)|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY)=' || true)
exec unshare --mount --pid --fork --kill-child bash -euc '
  root=$1 command=$2 home=$4
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/dev/shm"
  mapfile -t settings <<<"$3"
  exec chroot "$root" /usr/bin/env -i HOME="$home" PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM="${TERM:-dumb}" \
    ${3:+"${settings[@]}"} bash -c "cd && cd aelle && python3 --version && $command"
' fresh_machine "$root" "$command" "$settings" "$home"
