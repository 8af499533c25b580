# How many of the guests' frames meet the appliance while the client sends ten pings.
handed() { sluice stats | awk '$1 == "slow" && $2 == "side" { print $3 }'; }
before=$(handed)
sluice exec client -- ping -q -c 10 -i 0.2 10.10.1.20 >/dev/null || exit 1
echo $(($(handed) - before))
