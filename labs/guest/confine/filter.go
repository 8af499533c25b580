package confine

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What no process of a lab has any business with: the kernel itself, its keys and clocks, other processes' memory.
var never = []uintptr{
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SYSLOG, unix.SYS_VHANGUP,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD,
	unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_FANOTIFY_INIT, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_NFSSERVCTL,
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
}

// What a namespace guest does not need either once its tree is made: mounts, namespaces, programs in the kernel.
var neverInside = []uintptr{
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_SETNS, unix.SYS_UNSHARE, unix.SYS_BPF,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
}

// families are those of the sockets that a lab is made of. Of the others some reach past every network namespace
// (AF_VSOCK: the machine that this one runs on, and its other guests), and each that is asked for may make the kernel
// load a module.
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET}

// newSpaces are the flags of clone(2) that make namespaces.
const newSpaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET

// Filter is which system calls the kernel refuses.
type Filter struct {
	Inside bool // also what only the maker of a guest needs
}

// Load makes the kernel refuse the calls to the calling thread, and to all that it starts and becomes, for good; so
// does no_new_privs, without which a filter takes CAP_SYS_ADMIN. What is refused fails with EPERM. The caller is locked
// to its thread, and calls exec next.
func (f Filter) Load() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	raw, err := bpf.Assemble(f.program())
	if err != nil {
		return fmt.Errorf("assemble the filter of system calls: %w", err)
	}
	code := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		code[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(code)
	if errno != 0 {
		return fmt.Errorf("load the filter of system calls: %w", errno)
	}
	return nil
}

// Offsets in struct seccomp_data (include/uapi/linux/seccomp.h), and the first number of x32's calls.
const (
	offNumber, offArch, offFirstArg = 0, 4, 16
	x32Bit                          = 0x40000000
)

const (
	noFamily = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)

	refuse  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	unknown = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// program is the filter. Calls by another architecture's door (int 0x80, x32) have other numbers, so there are none.
func (f Filter) program() []bpf.Instruction {
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: unknown},
		bpf.LoadAbsolute{Off: offNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32Bit, SkipTrue: 1},
		bpf.RetConstant{Val: unknown},
	}
	p = append(p, otherFamilies()...)
	calls := append([]uintptr{}, never...)
	calls = append(calls, neverHere...)
	if f.Inside {
		calls = append(calls, neverInside...)
		p = append(p, noNewSpaces()...)
	}
	for _, call := range calls {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(call), SkipTrue: 1}, bpf.RetConstant{Val: refuse})
	}
	return append(p, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW})
}

// otherFamilies lets socket(2) make what a lab needs; the kernel might as well not have the rest.
func otherFamilies() []bpf.Instruction {
	n := len(families)
	p := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_SOCKET, SkipTrue: uint8(n + 3)},
		bpf.LoadAbsolute{Off: offFirstArg, Size: 4}, // an int: the low half
	}
	for i, family := range families {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: family, SkipTrue: uint8(n - i)})
	}
	return append(p, bpf.RetConstant{Val: noFamily}, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW})
}

// noNewSpaces refuses namespaces at clone(2). The flags of clone3(2) are in memory, where no filter can look: it is as
// if the kernel did not know it, and libraries fall back to clone.
func noNewSpaces() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_CLONE3, SkipTrue: 1},
		bpf.RetConstant{Val: unknown},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_CLONE, SkipTrue: 4},
		bpf.LoadAbsolute{Off: offFirstArg, Size: 4}, // the low half, on a little-endian machine
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: newSpaces, SkipTrue: 1},
		bpf.RetConstant{Val: refuse},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
	}
}
