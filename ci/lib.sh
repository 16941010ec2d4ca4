# What the scripts in this folder share. Source it; it is not run by itself.
# shellcheck shell=bash

# A shell that is not a login shell may lack these; dockerd looks for iptables there.
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
export PATH
# Messages are read and lists are compared: both in one language and order.
export LC_ALL=C.UTF-8

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit

say() { printf '%s\n' "$*"; }

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# now_ms prints the time in milliseconds.
now_ms() {
	local us=${EPOCHREALTIME/[.,]/}
	printf '%s\n' "$((us / 1000))"
}

# nap waits without a child process, which would outlive a script that is killed.
nap() { read -rt "$1" <> <(:) || true; }

# long TITLE COMMAND… runs a command that takes its time, quietly: it prints the
# title, the seconds as they pass, and, if the command fails, what it said.
long() {
	local title=$1 log started ticker status=0
	shift
	log=$(mktemp)
	started=$SECONDS
	printf '%s …' "$title"
	(
		while nap 10 && kill -0 $$ 2>/dev/null; do
			printf ' %d s …' "$((SECONDS - started))"
		done
	) &
	ticker=$!
	"$@" </dev/null >"$log" 2>&1 || status=$?
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	printf ' %d s\n' "$((SECONDS - started))"
	if [ "$status" -ne 0 ]; then
		tail -n 40 "$log" >&2
		printf '%s: %s: exit %d\n' "${0##*/}" "$title" "$status" >&2
	fi
	rm -f "$log"
	return "$status"
}

# add_packages PACKAGE… installs Debian packages, with no question asked.
add_packages() {
	[ "$(id -u)" -eq 0 ] || die "not root, and these packages are missing: $*"
	command -v apt-get >/dev/null || die "no apt-get here, and these packages are missing: $*"
	# Other users of apt (unattended upgrades on a fresh host) hold its lock for a while.
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
	if [ -z "${package_lists_are_new:-}" ]; then
		# A list that one foreign source cannot give does not matter if the rest is there:
		# the install that follows tells.
		long "updating the package lists" "${apt[@]}" update || true
		package_lists_are_new=yes
	fi
	long "installing $*" "${apt[@]}" install -y --no-install-recommends "$@"
}
