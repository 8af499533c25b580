# A full table is not passed by in slow, if the policy in force says so. It leaves the lab as it was.
was=$(sluice place | cut -d' ' -f1)
trap '{ sluice place slow; sluice place "$was"; } >/dev/null 2>&1' EXIT
sluice place slow >/dev/null && sluice exec fw -- nft insert rule inet sluice forward ct state new drop || exit 1
until sluice appliance status | grep -q table-full; do sleep 0.1; done
sleep 0.3 # what is passed by is so within a tick of the monitor
if sluice exec client -- wget -qO /dev/null -t 1 -T 2 http://10.10.2.10/ >/dev/null 2>&1; then
	echo "the table is full, and a new connection passed"
	exit 1
fi
