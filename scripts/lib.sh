# What the scripts share: sourced, never run. It installs what is missing and builds the one binary.
# shellcheck shell=bash
set -euo pipefail

top=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"
PATH=$PATH:/usr/sbin:/sbin:/usr/local/go/bin

# What the scripts do depends on this machine's programs only, not on its user's settings: a locale with a decimal comma,
# a go.work above the clone, a clone that git takes for somebody else's, a mask that keeps what is built from others.
export LC_ALL=C.UTF-8 CGO_ENABLED=0 GO111MODULE=on GOWORK=off
unset GOOS GOARCH
umask 022
[ -n "${HOME:-}" ] || HOME=$(getent passwd "$(id -u)" | cut -d : -f 6)
export HOME

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
	# On a new machine another apt may be at work; and a broken list of somebody's does not keep Debian's from being read.
	if ! { apt-get -o DPkg::Lock::Timeout=300 update || :
		DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"; } \
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

# older A B: version A is below version B.
older() { [ "$1" != "$2" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# need_go: finds a Go that can build this, which is one of go.mod's version, or one from 1.21 on that may fetch that.
need_go() {
	local wanted have why
	[ "$(id -u)" != 0 ] || need ca-certificates # for the module proxy
	wanted=$(sed -n 's/^go //p' go.mod)
	if ! have=$(go_version) || older "$have" "$wanted"; then
		# A distribution's Go is often older than the one that was put beside it.
		[ ! -x /usr/local/go/bin/go ] || PATH=/usr/local/go/bin:$PATH
	fi
	have=$(go_version) || stop "Go is missing: Go $wanted or later is needed, see https://go.dev/doc/install"
	why="Go $wanted or later is needed, and $(command -v go) is $have: see https://go.dev/doc/install"
	if older "$have" "$wanted"; then
		! older "$have" 1.21 || stop "$why"
		say "Go is $have; it has to fetch Go $wanted"
	fi
	go list -m >/dev/null || stop "$why"
	GOFLAGS="$(go env GOFLAGS) -buildvcs=false" # git may not tell whose clone this is
	export GOFLAGS
}

# go_version: of the Go that is installed, not of one that it would fetch.
go_version() { (cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) | sed -E 's/^(devel )?go//; s/[ -].*//' | grep .; }

# What guests run on, what goes into their image, and what compiles for the kernel.
# shellcheck disable=SC2034  # for those who source this
vm_packages=(qemu-system-x86) image_packages=(nftables iperf3 conntrack tcpdump iproute2 busybox-static wget traceroute)
# shellcheck disable=SC2034
bpf_packages=(clang llvm libbpf-dev)

# build: the one binary. It knows its commit (sluice --version) where git tells whose clone this is.
build() {
	local vcs=false
	need_go
	! git status --porcelain >/dev/null 2>&1 || vcs=auto
	say "building sluice"
	go build -buildvcs=$vcs -trimpath -ldflags '-s -w' -o "$top/sluice" .
}
