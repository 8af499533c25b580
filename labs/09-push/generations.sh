# What fw says is in force, what the switch says, and what each vNIC of a guest has realized must be one generation.
pushed=$(sluice exec fw -- policy status | sed -n 's/^generation \([0-9]*\) is in force$/\1/p')
if [ -z "$pushed" ]; then
	echo "no policy is administered in fw"
	exit 1
fi
sluice stats | awk -v pushed="$pushed" '
/^placement / { said = $0; sub(/.*policy generation /, "", said); sub(/,.*/, "", said) }
$1 == "client" || $1 == "server" { vnics++; if ($4 != pushed) wrong = wrong " " $1 " has generation " $4 "," }
END {
	if (said != pushed) wrong = wrong " the switch has generation " said ","
	if (vnics != 2) wrong = wrong " " vnics " vNICs are there,"
	if (wrong) { print "fw says generation " pushed " is in force, but" wrong " it is not so everywhere"; exit 1 }
}'
