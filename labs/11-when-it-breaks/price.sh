# In which of slow and inspect telnet, which the policy denies, comes through while the appliance hangs and fails open. It leaves the
# lab as it was.
was=$(sluice place | cut -d' ' -f1)
trap '{ sluice appliance resume; sluice place "$was"; } >/dev/null 2>&1' EXIT
for p in slow inspect; do
	sluice place $p --fail open >/dev/null && sluice appliance stall >/dev/null || exit 1
	until sluice appliance status | grep -q 'hung *yes'; do sleep 0.1; done
	echo x | sluice exec client -- nc -w 1 10.10.2.10 23 2>/dev/null | grep -q x && list="$list${list:+, }$p"
	sluice appliance resume >/dev/null || exit 1
	until sluice appliance status | grep -q 'ok *no'; do sleep 0.1; done
done
echo "${list:-none}"
