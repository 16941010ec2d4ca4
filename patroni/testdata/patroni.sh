# Stands for Patroni in tests: tells on stdout what happens to it.
address() { sed -n '/^postgresql:/,$ s/^  connect_address: //p' "$1"; }
trap 'echo "TERM"; exit 0' TERM
trap 'echo "HUP $(address "$1")"' HUP
trap 'echo "USR1"; exit 7' USR1
trap 'kill -KILL $$' USR2
orphan=$(sleep 0.3 >/dev/null & echo $!)
[ ! -d "$(dirname "$1")-data" ] || echo "$orphan" >"$(dirname "$1")-data/postmaster.pid"
echo "started $1 $(address "$1") orphan $orphan"
while :; do
	sleep 0.02
done
