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

# lacking PACKAGE...: prints those of the Debian packages that are not installed.
lacking() {
	local package
	for package in "$@"; do
		dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || echo "$package"
	done
}

# install PACKAGE...: installs Debian packages; false, and why, if that cannot be done.
install() {
	local log
	command -v apt-get >/dev/null || { say "no apt-get here to install $*"; return 1; }
	[ "$(id -u)" = 0 ] || { say "as root: apt-get install $*"; return 1; }
	say "installing $*"
	log=$(mktemp)
	if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } \
		>"$log" 2>&1 </dev/null; then
		tail -n 20 "$log" >&2
		say "apt-get could not install $*; its whole output is in $log"
		return 1
	fi
	rm -f "$log"
}

# need PACKAGE...: installs those of the Debian packages that are missing.
need() {
	local missing
	mapfile -t missing < <(lacking "$@")
	[ ${#missing[@]} -eq 0 ] || install "${missing[@]}" || stop "missing: ${missing[*]}"
}

need_go() {
	[ "$(id -u)" != 0 ] || need ca-certificates # for the module proxy
	command -v go >/dev/null || stop "Go is missing: see https://go.dev/doc/install (the version is in go.mod)"
}

# What guests run on, and what goes into their image.
# shellcheck disable=SC2034  # for those who source this
vm_packages=(qemu-system-x86) image_packages=(nftables iperf3 conntrack tcpdump iproute2 busybox-static wget traceroute)

build() {
	need_go
	say "building sluice"
	go build -trimpath -ldflags '-s -w' -o "$top/sluice" .
}
