# Which build of pgpatron runs on the hosts that ci/hosts plays. Source it; it is not run by itself.
# shellcheck shell=bash disable=SC2154 # run and root are those of ci/hosts

# use_build FILE has the program started from now on as that file.
use_build() { ln -sfn "$1" "$run/pgpatron"; }

# previous builds the program as it was at an earlier commit, and uses that.
previous() {
	local commit=${PGPATRON_PREVIOUS:-HEAD~1} dir=$run/previous
	rm -rf "$dir"
	mkdir -p "$dir/source"
	git archive "$commit" >"$dir/source.tar" || die "there is no commit $commit here: PGPATRON_PREVIOUS names another"
	tar -C "$dir/source" -xf "$dir/source.tar"
	long "building $commit" env CGO_ENABLED=0 go -C "$dir/source" build -trimpath -buildvcs=false -o "$dir/pgpatron" ./cmd/pgpatron
	use_build "$dir/pgpatron"
}

# current uses the program of this tree again.
current() { use_build "$root/bin/pgpatron"; }

# replace NAME PROCESS ends the pgpatron of a host in order, and starts the one in use.
replace() {
	local pids
	mapfile -t pids < <(pids_of "$1" pgpatron)
	kill -TERM "${pids[@]}"
	for _ in {1..300}; do
		if [ -z "$(pids_of "$1" pgpatron)" ]; then
			"start_$2" "$1"
			return
		fi
		nap 0.1
	done
	die "the pgpatron of $1 does not end"
}

# build prints the file of each pgpatron that runs on a host.
build() {
	local pid
	while read -r pid; do readlink "/proc/$pid/exe"; done < <(pids_of "$1" pgpatron)
}
