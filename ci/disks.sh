# The small disk of one of the hosts of ci/hosts. Source it from there.
# shellcheck shell=bash

# make_disk puts the data of a host's containers on a disk of their own: a file that is
# mounted.
make_disk() {
	mkdir -p "$run/$small/docker"
	truncate --size "${disk_size}M" "$run/$small.disk"
	mkfs.ext4 -q -m 0 "$run/$small.disk"
	mount -o loop "$run/$small.disk" "$run/$small/docker"
}

remove_disk() {
	! mountpoint -q "$run/$small/docker" || umount "$run/$small/docker"
}

# fill HOST MB leaves so many megabytes of room on the disk.
fill() {
	local free
	free=$(df --block-size=1M --output=avail "$run/$1/docker" | tail -n 1)
	mountpoint -q "$run/$1/docker" || die "the disk of $1 is the machine's own"
	[ "$free" -gt "$2" ] || return 0
	fallocate --length "$((free - $2))M" "$run/$1/docker/ballast"
}

# room HOST gives the room back.
room() { rm -f "$run/$1/docker/ballast"; }
