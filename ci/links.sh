# What ci/hosts does to the links of its hosts. Source it from there.
# shellcheck shell=bash

# Packets are dropped at a host's own device, below everything else: neither side is told,
# and connections that are open are cut, too, those of containers with the rest.

# cut NAME takes a host's cable out. cut NAME OTHER… out|in|both hides others from it, and
# with out or in only for one direction: it is heard, and hears nothing, or the reverse.
cut() {
	local name=$1 direction=both other
	shift
	if [ $# -eq 0 ]; then
		ip link set "pgptest-$name" down
		return
	fi
	case ${!#} in out | in | both) direction=${!#} && set -- "${@:1:$#-1}" ;; esac
	make_filter "$name"
	for other in $(expand "$@"); do
		[ "$direction" = in ] || filter "$name" out ip daddr "$(address "$other")" drop
		[ "$direction" = out ] || filter "$name" in ip saddr "$(address "$other")" drop
	done
}

# lose NAME PERCENT has so many of the packets lost that a host sends, and that come to it.
lose() {
	local way
	make_filter "$1"
	for way in in out; do
		filter "$1" "$way" numgen random mod 100 '<' "$2" drop
	done
}

# delay NAME TIME has what a host sends leave later, by what tc-netem takes: 40ms, or
# 40ms 10ms.
delay() {
	local name=$1
	shift
	ip netns exec "pgpatron-test-$name" tc qdisc replace dev eth0 root netem delay "$@" 2>/dev/null ||
		die "this kernel has no netem, so nothing can be delayed"
}

# heal NAME undoes all of that.
heal() {
	ip netns exec "pgpatron-test-$1" nft delete table netdev pgpatron-faults 2>/dev/null || true
	ip netns exec "pgpatron-test-$1" tc qdisc delete dev eth0 root 2>/dev/null || true
	ip link set "pgptest-$1" up
	# The default route goes with the cable.
	ip -n "pgpatron-test-$1" route replace default via 10.97.0.1
}

# renumber NAME gives a backend another address, or its first one again. What it had open
# by the old one hangs.
renumber() {
	local old
	old=$(address "$1")
	if [ -e "$run/$1.renumbered" ]; then rm "$run/$1.renumbered"; else touch "$run/$1.renumbered"; fi
	# With the first address of a network the others go.
	ip -n "pgpatron-test-$1" address delete "$old/24" dev eth0
	ip -n "pgpatron-test-$1" address add "$(address "$1")/24" dev eth0
	ip -n "pgpatron-test-$1" route replace default via 10.97.0.1
}

make_filter() {
	ip netns exec "pgpatron-test-$1" nft "
		add table netdev pgpatron-faults
		add chain netdev pgpatron-faults in { type filter hook ingress device eth0 priority 0; }
		add chain netdev pgpatron-faults out { type filter hook egress device eth0 priority 0; }"
}

filter() { ip netns exec "pgpatron-test-$1" nft add rule netdev pgpatron-faults "${@:2}"; }

# expand prints names, and the members for the word etcd.
expand() {
	local name
	for name; do
		if [ "$name" = etcd ]; then printf '%s\n' "${members[@]}"; else printf '%s\n' "$name"; fi
	done
}
