#!/bin/sh
# Installs what is missing, and only that: Debian packages, the account educloud, the virtual environment.
# Without root (PROFILE=rootless, PROFILE=demo) only the last: nothing outside the checkout is touched.
# Usage: deploy/install.sh [--test | --role ROLE]
#   --test adds what the test suite needs; --role installs no more than one role needs, beside what is here already.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
here=$root/deploy/install
venv=$root/.venv
policy=/usr/sbin/policy-rc.d
kept=$policy.before-educloud
want_tests=no

say() { printf '%s\n' "$*" >&2; }
fail() { say "$1"; exit "${2:-1}"; }

# What a cloud was made with it stays: `make up` without PROFILE goes on with it.
if [ "$(id -u)" = 0 ]; then home=/var/lib/educloud; else home=${XDG_DATA_HOME:-$HOME/.local/share}/educloud; fi
profile=${PROFILE:-$(cat "${EDUCLOUD_HOME:-$home}/.educloud" 2>/dev/null || true)}
[ -n "$profile" ] || { [ "$(id -u)" = 0 ] && profile=full || profile=rootless; }

# Which roles this machine is for: what was chosen before, and one more. "all": the whole cloud.
roles=$(cat "$venv/.roles" 2>/dev/null || { [ -e "$venv/.installed" ] && echo all; } || true)
case ${1:-} in
    "") roles=${roles:-all} ;;
    --test) want_tests=yes roles=all ;;
    --role)
        case ${2:-} in walrus | cc | nc | sc) ;; *) fail "ROLE=${2:-} cannot join: walrus, cc, nc or sc." 2 ;; esac
        case " $roles " in " all " | *" $2 "*) ;; *) roles="$roles $2" ;; esac
        ;;
    *) fail "usage: deploy/install.sh [--test | --role ROLE]" 2 ;;
esac

# The names in a list of packages that these roles need.
names() {
    awk -v want="$roles" '{
        needed = $0 !~ /#/ || want ~ /all/
        for (n = split(substr($0, index($0, "#") + 1), word, " "); n > 0; n--) needed = needed || index(" " want " ", " " word[n] " ")
        sub(/#.*/, "")
        if (needed && NF) print $1
    }' "$@"
}

missing_packages() {
    lists=$here/packages.txt
    [ $want_tests = yes ] && lists="$lists $here/packages-test.txt"
    # shellcheck disable=SC2046,SC2086
    set -- $(names $lists)
    dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^.i *//p' | sort -u >"$scratch/there"
    printf '%s\n' "$@" | sort -u | comm -23 - "$scratch/there"
}

# A package that brings a service would start it on the standard port; ours run on their own.
hold_services() {
    if [ ! -e "$policy.by-educloud" ]; then
        if [ -e "$policy" ] || [ -L "$policy" ]; then mv -- "$policy" "$kept"; fi
        : >"$policy.by-educloud"
    fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

release_services() {
    [ -e "$policy.by-educloud" ] || return 0
    rm -f -- "$policy"
    if [ -e "$kept" ] || [ -L "$kept" ]; then mv -- "$kept" "$policy"; fi
    rm -f -- "$policy.by-educloud"
}

# Nor shall they start at the next boot; only of what we installed just now.
disable_services() {
    command -v systemctl >/dev/null 2>&1 || return 0
    for package in $1; do
        case $package in
            rabbitmq-server) units=rabbitmq-server.service ;;
            memcached) units=memcached.service ;;
            mariadb-server) units=mariadb.service ;;
            slapd) units=slapd.service ;;
            libvirt-daemon-system) units="libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirt-guests.service virtlogd.socket virtlockd.socket" ;;
            *) continue ;;
        esac
        # shellcheck disable=SC2086
        systemctl disable --quiet $units >/dev/null 2>&1 || true
    done
}

install_packages() {
    packages=$(missing_packages)
    [ -n "$packages" ] || return 0
    command -v apt-get >/dev/null 2>&1 || fail "This is not Debian (no apt-get). Needed: $(echo $packages)"
    say "installing Debian packages: $(echo $packages)"
    hold_services
    # -q keeps logs short; the lists are fetched anew only here, where something is missing.
    apt-get -q -o DPkg::Lock::Timeout=300 update >&2 || fail "apt-get update failed; check /etc/apt/sources.list and the network."
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install --no-install-recommends $packages >&2 ||
        fail "apt-get install failed; its message is above. Run it again after mending that."
    release_services
    disable_services "$packages"
}

ensure_localhost() {
    grep -Eq '^[[:space:]]*127\.0\.0\.1[[:space:]].*\blocalhost\b' /etc/hosts 2>/dev/null && return 0
    say "adding '127.0.0.1 localhost' to /etc/hosts: the broker needs the name"
    printf '127.0.0.1 localhost\n' >>/etc/hosts
}

ensure_account() {
    getent passwd educloud >/dev/null || useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin educloud
}

find_python() {
    # The system's own first: the roles' account can run it, which one below /root takes mounts for.
    for python in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
        path=$(command -v "$python" 2>/dev/null) || continue
        "$path" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$path"; return 0; }
    done
    fail "Python 3.11 or newer with venv is needed and was not found. On Debian root installs it: apt-get install python3-venv"
}

digest() { cat "$@" | sha256sum | cut -c1-64; }

stamped() { [ "$(cat "$venv/.installed$2" 2>/dev/null)" = "$1" ]; }

# The stamp says what was installed from; it is written last, so a cut installation is done again.
install_python() {
    all="$(digest "$root/requirements.txt" "$root/pyproject.toml") $root"
    # What the whole cloud was installed from is enough for every other one.
    if ! { works && stamped "$all" ""; }; then
        make_venv
        lock=$root/requirements.txt
        if [ "$roles" != all ] || [ "$profile" != full ]; then
            lock=$scratch/requirements.txt
            if [ "$profile" = full ]; then wanted=$roles; else wanted=$profile; fi
            # shellcheck disable=SC2086
            "$venv/bin/python" "$root/deploy/lock.py" $wanted >"$lock"
        fi
        want="$(digest "$lock" "$root/pyproject.toml") $root"
        if ! stamped "$want" ""; then
            say "installing Python packages"
            "$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r "$lock" >&2
            # The command line client comes with a whole cloud; a role that joins runs from the checkout.
            [ "$roles" != all ] ||
                "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --no-index -e "$root" >&2
            echo "$want" >"$venv/.installed"
        fi
    fi
    [ "$(cat "$venv/.roles" 2>/dev/null)" = "$roles" ] || [ ! -w "$venv" ] || echo "$roles" >"$venv/.roles"
    [ $want_tests = yes ] || return 0
    want="$(digest "$root/requirements-dev.txt") $root"
    if ! stamped "$want" -test; then
        say "installing what the tests need"
        "$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r "$root/requirements-dev.txt" >&2
        echo "$want" >"$venv/.installed-test"
    fi
}

works() { [ -x "$venv/bin/python" ] && "$venv/bin/python" -c '' 2>/dev/null; }

make_venv() {
    if works; then return 0; fi
    [ -w "$root" ] || fail "$root cannot be written, and .venv is made in it: call from a checkout of your own."
    python=$(find_python)
    say "creating the virtual environment with $python"
    rm -rf -- "$venv"
    "$python" -m venv "$venv"
}

[ "$(uname -s)" = Linux ] || fail "eduCloud runs on Linux; this is $(uname -s)."
case $profile in
    full) [ "$(id -u)" = 0 ] || fail "PROFILE=full needs root; PROFILE=rootless and PROFILE=demo need none." 4 ;;
    rootless | demo) [ $want_tests = no ] || fail "The tests need root, for the services and guests they run." 4 ;;
    *) fail "PROFILE=$profile is unknown: full, rootless or demo." 2 ;;
esac

scratch=$(mktemp -d)
trap 'if [ "$profile" = full ]; then release_services; fi; rm -rf -- "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# A second run waits for the first. The checkout's folder is the lock.
exec 9<"$root"
flock -n 9 || { say "waiting: another installation is running here"; flock -w 1800 9 || fail "Another installation is still running here."; }

if [ "$profile" = full ]; then
    release_services
    install_packages
    ensure_localhost
    ensure_account
fi
install_python 9<&-
