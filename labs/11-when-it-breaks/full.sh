# Which connections go on when the appliance takes no new flow: old ones, new ones. It leaves the lab as it was.
was=$(sluice place | cut -d' ' -f1)
# The limit of the kernel's own table where fw has a kernel of its own; else a rule with a table of five.
fill() {
	sluice exec fw -- sh -c 'sysctl -w net.netfilter.nf_conntrack_max=5 || nft insert rule inet sluice forward ct state new ct count over 5 drop'
}
empty() { sluice exec fw -- sysctl -w net.netfilter.nf_conntrack_max=65536; sluice place slow; }
trap '{ empty; sluice place "$was"; } >/dev/null 2>&1' EXIT
sluice place slow --fail closed >/dev/null || exit 1
mkfifo line
sluice exec client -- nc 10.10.2.10 7777 <line >old &
exec 3>line
echo before >&3
until grep -q before old; do sleep 0.1; done
fill >/dev/null 2>&1 || exit 1
until sluice appliance status | grep -q table-full; do sleep 0.1; done
echo after >&3
sluice exec client -- wget -qO /dev/null -t 1 -T 2 http://10.10.2.10/ >/dev/null 2>&1 && new=new
exec 3>&-
grep -q after old && list=old
echo "${list:-}${list:+${new:+, }}${new:-}"
