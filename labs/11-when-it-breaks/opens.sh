# A hung and a dead appliance are passed by in slow, if the policy in force says so. It leaves the lab as it was.
was=$(sluice place | cut -d' ' -f1)
trap '{ sluice appliance restart; sluice place "$was"; } >/dev/null 2>&1' EXIT
page() { sluice exec client -- wget -qO /dev/null -t 1 -T 2 http://10.10.2.10/ >/dev/null 2>&1; }
seen() { until sluice appliance status | grep -q "$1"; do sleep 0.1; done; }
sluice place slow >/dev/null && sluice appliance stall >/dev/null || exit 1
seen hung
page || { echo "the appliance is hung, and no page came"; exit 1; }
sluice appliance resume >/dev/null || exit 1
seen 'ok *no'
sluice appliance kill >/dev/null || exit 1
seen absent
page || { echo "the appliance is dead, and no page came"; exit 1; }
