#!/bin/sh
# Install zerodte-flow as services on this machine, or remove it: make install, make uninstall.
#
#   deploy/install.sh [install|uninstall] [--dry-run] [--purge]
#
#   DESTDIR=FOLDER  works below FOLDER instead of /, and leaves users and systemd alone
#   PYTHON=PROGRAM  the Python that makes the environment, 3.11 or newer (python3)
#   EXTRAS=NAMES    extras to install, such as notify,dxlink
#
# A second run upgrades the program and the units, and leaves flow.env alone. uninstall leaves the
# settings and /var/lib/zerodte-flow, where a spool may wait for the database; --purge removes them and
# the user. The database is never touched.
set -eu

what=install dry=no purge=no
for word in "$@"; do
  case $word in
    install | uninstall) what=$word ;;
    --dry-run) dry=yes ;;
    --purge) purge=yes ;;
    *) echo "usage: $0 [install|uninstall] [--dry-run] [--purge]" >&2; exit 2 ;;
  esac
done

source=$(cd "$(dirname "$0")/.." && pwd)
root=${DESTDIR:-}
python=${PYTHON:-python3}
name=zerodte-flow
venv=/opt/$name/venv
units=/etc/systemd/system
settings=/etc/$name
state=/var/lib/$name

run() {
  echo "+ $*"
  [ $dry = yes ] || "$@"
}

# What changes the machine beyond files is left out below DESTDIR.
machine() {
  if [ -z "$root" ]; then run "$@"; fi
}

if [ -z "$root" ] && [ $dry = no ] && [ "$(id -u)" != 0 ]; then
  echo "$0: only root can do this; --dry-run shows what would be done" >&2
  exit 1
fi
has_systemd=no
[ -d /run/systemd/system ] && has_systemd=yes

install_all() {
  "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || {
    echo "$0: $python is not Python 3.11 or newer with venv: apt install python3-venv, or name another by PYTHON=" >&2
    exit 1
  }
  if ! getent passwd $name > /dev/null; then
    machine useradd --system --user-group --home-dir $state --shell /usr/sbin/nologin $name
  fi
  run mkdir -p "$root$venv" "$root$settings" "$root$units"
  run "$python" -m venv "$root$venv"
  run "$root$venv/bin/pip" install --quiet --disable-pip-version-check --upgrade "$source${EXTRAS:+[$EXTRAS]}"
  if [ ! -e "$root$settings/flow.env" ]; then
    run install -m 600 "$source/deploy/flow.env.example" "$root$settings/flow.env"
  else
    echo "  $root$settings/flow.env stays as it is"
  fi
  for unit in "$source"/deploy/systemd/$name-*; do
    run install -m 644 "$unit" "$root$units/${unit##*/}"
  done
  if [ $has_systemd = yes ]; then
    machine systemctl daemon-reload
    for unit in $name-sampler $name-api; do
      # Only what runs is started again: a first installation has no settings yet.
      machine systemctl try-restart $unit.service
    done
  fi
  cat <<END

Installed. Next:
  1. set FLOW_SOURCE, FLOW_DATABASE_URL and FLOW_REDIS_URL in $settings/flow.env
  2. systemctl enable --now $name-sampler $name-api $name-backfill.timer $name-prune.timer
deploy/README.md has the database, and how to see that it runs.
END
}

uninstall_all() {
  if [ $has_systemd = yes ]; then
    for unit in "$source"/deploy/systemd/$name-*; do
      case $unit in
        *@*) ;;
        *) machine systemctl disable --now "${unit##*/}" || true ;;
      esac
    done
  fi
  for unit in "$source"/deploy/systemd/$name-*; do
    run rm -f "$root$units/${unit##*/}"
  done
  if [ $has_systemd = yes ]; then machine systemctl daemon-reload; fi
  run rm -rf "$root/opt/$name"
  if [ $purge = yes ]; then
    run rm -rf "$root$settings" "$root$state" "$root/var/cache/$name"
    if getent passwd $name > /dev/null; then machine userdel $name; fi
  else
    echo "  $root$settings and $root$state stay; --purge removes them"
  fi
}

${what}_all
