# Which pages still come when the appliance is dead: the lines of the table in the README. It leaves the lab as it was.
was=$(sluice place | cut -d' ' -f1)
# Whoever ends this in a restart leaves one that is still being given up: the next one is refused until then.
back() { for i in 1 2 3 4 5 6 7 8 9 10; do sluice appliance restart && break; sleep 1; done; sluice place "$was"; }
trap 'back >/dev/null 2>&1' EXIT
page() { sluice exec client -- wget -qO /dev/null -t 1 -T 2 "http://$1/" >/dev/null 2>&1; }
try() { page "$2" && list="$list${list:+, }$1"; }
{
	sluice place slow --fail closed && sluice appliance kill || exit 1
	try a 10.10.2.10
	try b 10.10.1.20
	sluice place fast || exit 1
	try c 10.10.2.10
	sluice appliance restart && sluice place push && sluice appliance kill || exit 1
	try d 10.10.2.10
} >/dev/null
echo "${list:-none}"
