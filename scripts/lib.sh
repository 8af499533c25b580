# What the scripts share: sourced, never run. It installs what is missing and builds the one binary.
# shellcheck shell=bash
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"
export CGO_ENABLED=0
PATH=$PATH:/usr/sbin:/sbin:/usr/local/go/bin

say() { printf '%s\n' "$*" >&2; }

# stop MESSAGE: this machine lacks something (exit code 3, as the command's own).
stop() {
	say "$*"
	exit 3
}

# need PACKAGE...: installs those of the Debian packages that are missing.
need() {
	local package missing=()
	for package in "$@"; do
		dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
	done
	[ ${#missing[@]} -eq 0 ] && return
	command -v apt-get >/dev/null || stop "missing, and no apt-get here to install them: ${missing[*]}"
	[ "$(id -u)" = 0 ] || stop "missing: ${missing[*]}; as root: apt-get install ${missing[*]}"
	say "installing ${missing[*]}"
	local log
	log=$(mktemp)
	if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
		>"$log" 2>&1 </dev/null; then
		tail -n 20 "$log" >&2
		stop "apt-get could not install ${missing[*]}; its whole output is in $log"
	fi
	rm -f "$log"
}

need_go() {
	command -v go >/dev/null || stop "Go is missing: see https://go.dev/doc/install (the version is in go.mod)"
}

# What labs run on and with, and what goes into the guest image.
# shellcheck disable=SC2034  # for those who source this
lab_packages=(qemu-system-x86 nftables iperf3 conntrack tcpdump iproute2 busybox-static wget traceroute)

build() {
	need_go
	say "building sluice"
	go build -trimpath -ldflags '-s -w' -o "$top/sluice" .
}
