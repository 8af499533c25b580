# Whose pages are late while fw has a backlog in inspect: its line carries 3 Mbit/s, and 4 are sent. It leaves the lab as it was.
was=$(sluice place | cut -d' ' -f1)
trap '{ kill $flood; sluice exec fw -- tc qdisc del dev steer root; sluice place "$was"; } >/dev/null 2>&1' EXIT
page() { # how many ms it takes
	begun=$(date +%s%3N)
	sluice exec client -- wget -qO /dev/null -t 1 -T 10 "http://$1/" >/dev/null 2>&1 || { echo "no page of $1 came" >&2; return 1; }
	echo $(($(date +%s%3N) - begun))
}
# A flood that somebody began by hand would end in the middle of this, and the server's speed test serves one at a time: first it must be free.
tries=0
until sluice exec client -- iperf3 -u -c 10.10.2.10 -n 1K >/dev/null 2>&1; do
	tries=$((tries + 1))
	[ $tries -lt 60 ] || { echo "the server's speed test is busy, or does not answer: end the iperf3 that runs in client" >&2; exit 1; }
	sleep 0.5
done
sluice place inspect --fail closed >/dev/null || exit 1
usual() { for i in 1 2 3; do page "$1"; done | sort -n | sed -n 1p | grep .; } # the fastest of three: a busy machine may be slow for a moment
server=$(usual 10.10.2.10) && printer=$(usual 10.10.1.20) || { echo "no page comes even without a backlog" >&2; exit 1; }
sluice exec fw -- tc qdisc add dev steer root tbf rate 3mbit burst 10k latency 500ms || exit 1
sluice exec client -- iperf3 -u -c 10.10.2.10 -b 4M -l 1200 -t 60 >/dev/null 2>&1 &
flood=$!
until sluice appliance status | grep -q "backlogged\|hung"; do sleep 0.1; done
# A probe is late by 150 ms when there is a backlog. A page takes that way four times. One that does not come at all is late as well.
late() { slow=$(page "$1" 2>/dev/null) && [ "$slow" -le $(($2 + 300)) ] || list="${list:+$list, }$3"; }
late 10.10.2.10 "$server" server
late 10.10.1.20 "$printer" printer
kill -0 $flood 2>/dev/null || { echo "the flood ended too early: try again" >&2; exit 1; }
echo "${list:-none}"
