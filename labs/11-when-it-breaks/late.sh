# Whose pages are late while fw has a backlog in inspect: its line carries 3 Mbit/s, and 4 are sent. It leaves the lab as it was.
was=$(sluice place | cut -d' ' -f1)
trap '{ kill $flood; sluice exec fw -- tc qdisc del dev steer root; sluice place "$was"; } >/dev/null 2>&1' EXIT
page() { # how many ms it takes
	begun=$(date +%s%3N)
	sluice exec client -- wget -qO /dev/null -t 1 -T 10 "http://$1/" >/dev/null 2>&1 || { echo "no page of $1 came" >&2; return 1; }
	echo $(($(date +%s%3N) - begun))
}
sluice place inspect --fail closed >/dev/null || exit 1
server=$(page 10.10.2.10) && printer=$(page 10.10.1.20) || exit 1
sluice exec fw -- tc qdisc add dev steer root tbf rate 3mbit burst 10k latency 500ms || exit 1
sluice exec client -- iperf3 -u -c 10.10.2.10 -b 4M -l 1200 -t 60 >/dev/null 2>&1 &
flood=$!
until sluice appliance status | grep -q backlogged; do sleep 0.1; done
# A probe is late by 150 ms when there is a backlog. A page takes that way four times.
slow=$(page 10.10.2.10) || exit 1
[ "$slow" -gt $((server + 300)) ] && list=server
slow=$(page 10.10.1.20) || exit 1
[ "$slow" -gt $((printer + 300)) ] && list="${list:+$list, }printer"
echo "${list:-none}"
