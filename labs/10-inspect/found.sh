# The inspector says that it has met the virus.
n=$(sluice inspections | awk '$1 == "eicar" && NF == 2 { print $2 }')
echo "the inspector has met eicar ${n:-0} times"
test "${n:-0}" -ge 2
