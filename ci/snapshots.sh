# Etcd's snapshots on the hosts that ci/hosts plays, as docs/operations.md has an operator
# handle them. Source it; it is not run by itself.
# shellcheck shell=bash disable=SC2154 # run, memory and members are those of ci/hosts

# snapshot FILE saves what the first member has.
snapshot() { ETCDCTL_API=3 etcdctl --endpoints "$(address "${members[0]}"):2379" snapshot save "$1" >/dev/null; }

# restore FILE: all members lose their data, and begin anew with what a snapshot holds, but
# for who leads, and by a revision beyond all that was.
restore() {
	local member
	long "building etcdutl" env CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$run/etcdutl" go.etcd.io/etcd/etcdutl/v3
	clean_snapshot "$1" "$run/clean.db"
	for member in "${members[@]}"; do
		end_group "$member"
		rm -rf "${memory:?}/$member"
		etcdutl_restore "$run/clean.db" --name "$member" --data-dir "$memory/$member" --initial-cluster "$(initial_cluster)" \
			--initial-advertise-peer-urls "http://$(address "$member"):2380" --bump-revision 1000000000 --mark-compacted
	done
	for member in "${members[@]}"; do start_etcd "$member"; done
}

# clean_snapshot FILE CLEAN raises the site's era in a snapshot, and takes out who leads,
# who follows synchronously, and who was to lead: that may have changed since.
clean_snapshot() {
	local scratch=$memory/clean keys
	rm -rf "$scratch"
	etcdutl_restore "$1" --data-dir "$scratch"
	end_group clean
	ip netns add pgpatron-test-clean
	ip -n pgpatron-test-clean link set lo up
	within clean "$run/etcd" default 127.0.0.1:2379 "$scratch" default=127.0.0.1:2380
	for _ in {1..300}; do
		! clean_ctl get --limit 1 / >/dev/null 2>&1 || break
		nap 0.1
	done
	clean_ctl put /site/era 1 >/dev/null
	keys=$(clean_ctl get --prefix --keys-only /service/ | grep -E '^/service/[^/]+/(leader|sync|failover)$' || true)
	[ -z "$keys" ] || xargs -n1 ip netns exec pgpatron-test-clean env ETCDCTL_API=3 etcdctl del <<<"$keys" >/dev/null
	clean_ctl snapshot save "$2" >/dev/null
	end_group clean
	ip netns delete pgpatron-test-clean
}

clean_ctl() { ETCDCTL_API=3 ip netns exec pgpatron-test-clean etcdctl "$@"; }

etcdutl_restore() { "$run/etcdutl" snapshot restore "$@" >>"$run/etcdutl.log" 2>&1 || die "etcdutl: $(tail -n 3 "$run/etcdutl.log")"; }

initial_cluster() {
	local list
	list=$(for member in "${members[@]}"; do printf '%s=http://%s:2380,' "$member" "$(address "$member")"; done)
	printf '%s' "${list%,}"
}
