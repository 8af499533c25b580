# What is in force was pushed from inside fw, and not applied from outside.
file=$(sluice policy show -o json | sed -n 's/^ *"file": "\(.*\)",$/\1/p')
case $file in
fw:*) ;;
*)
	echo "what is in force is ${file:-nothing}, which nobody has pushed from inside fw"
	exit 1
	;;
esac
