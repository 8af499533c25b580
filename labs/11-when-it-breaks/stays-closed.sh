# A full table is not passed by in slow, if the policy in force says so. It leaves the lab as it was.
was=$(sluice place | cut -d' ' -f1)
# The limit of the kernel's own table where fw has a kernel of its own; else a rule with a table of five.
fill() {
	sluice exec fw -- sh -c 'sysctl -w net.netfilter.nf_conntrack_max=5 || nft insert rule inet sluice forward ct state new ct count over 5 drop'
}
empty() { sluice exec fw -- sysctl -w net.netfilter.nf_conntrack_max=65536; sluice place slow; }
trap '{ empty; sluice place "$was"; } >/dev/null 2>&1' EXIT
sluice place slow >/dev/null && fill >/dev/null 2>&1 || exit 1
until sluice appliance status | grep -q table-full; do sleep 0.1; done
sleep 0.3 # what is passed by is so within a tick of the monitor
if sluice exec client -- wget -qO /dev/null -t 1 -T 2 http://10.10.2.10/ >/dev/null 2>&1; then
	echo "the table is full, and a new connection passed"
	exit 1
fi
