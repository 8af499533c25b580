package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// neverHere is what is not to be called on this architecture beside what is so on all.
var neverHere = []uintptr{unix.SYS_KEXEC_FILE_LOAD}
