package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// NSName is the name under /run/netns of a lab's namespace (guest is empty) or of a namespace guest's. The dot cannot
// be in a Spec's Lab, so that no lab's guest can be taken for another lab.
func NSName(lab, guest string) string {
	if guest == "" {
		return "sluice-" + lab
	}
	return "sluice-" + lab + "." + guest
}

// reapTimeout is how long killed processes may take to go.
const reapTimeout = 10 * time.Second

// Reap ends every process that lives in a network namespace of the lab, but never itself, and removes the namespaces.
// It needs no memory of what was started, and may be called again. An error means that something is still there.
func Reap(lab string) error {
	names, err := namespacesOf(lab)
	if err != nil {
		return fmt.Errorf("reap lab %s: %w", lab, err)
	}
	spaces := map[string]bool{}
	for _, path := range names {
		if id, ok := namespaceAt(path); ok {
			spaces[id] = true
		}
	}
	delete(spaces, namespaceOf(os.Getpid(), "net")) // whoever gave our name to the machine's own: nobody in it is the lab's
	delete(spaces, namespaceOf(1, "net"))
	if err := endAll(spaces); err != nil {
		return fmt.Errorf("reap lab %s: %w", lab, err)
	}
	if names, err = namespacesOf(lab); err != nil { // again: a guest may have been in the making
		return fmt.Errorf("reap lab %s: %w", lab, err)
	}
	for _, path := range names {
		err = errors.Join(err, removeNamespace(path))
	}
	return err
}

// namespacesOf are the paths of a lab's named namespaces.
func namespacesOf(lab string) ([]string, error) {
	entries, err := os.ReadDir(NamesDir)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if e.Name() == NSName(lab, "") || strings.HasPrefix(e.Name(), NSName(lab, "")+".") {
			paths = append(paths, filepath.Join(NamesDir, e.Name()))
		}
	}
	return paths, nil
}

// namespaceAt says which network namespace is mounted at path, in the kernel's words. A name that a crash left without
// its mount stands for none.
func namespaceAt(path string) (string, bool) {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || unix.Statfs(path, &fs) != nil || fs.Type != unix.NSFS_MAGIC {
		return "", false
	}
	return fmt.Sprintf("net:[%d]", st.Ino), true
}

// EndHolder kills the lab process that holds a file open: the process whose arguments have words, one after the other.
// It is found also where its namespaces have no name, or none that is seen from this mount namespace; its guests end
// with it. It is no error if there is none.
func EndHolder(file string, words ...string) error {
	info, err := os.Stat(file)
	if err != nil {
		return nil // nobody holds what is not there
	}
	pids, err := processes()
	if err != nil {
		return err
	}
	is := func(pid int) bool { return pid != os.Getpid() && says(pid, words) && holds(pid, file, info) }
	for deadline := time.Now().Add(reapTimeout); ; {
		pids = slices.DeleteFunc(pids, func(pid int) bool { return !is(pid) })
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not end", pids[0])
		}
		for _, pid := range pids {
			if err := endProcess(pid, is); err != nil {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
		}
	}
}

// says whether a process's arguments have words one after the other.
func says(pid int, words []string) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains("\x00"+string(line), "\x00"+strings.Join(words, "\x00")+"\x00")
}

// holds says whether a process has a file open.
func holds(pid int, file string, info os.FileInfo) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		path := filepath.Join(dir, e.Name())
		link, err := os.Readlink(path)
		if err != nil || filepath.Base(link) != filepath.Base(file) {
			return false
		}
		open, err := os.Stat(path)
		return err == nil && os.SameFile(open, info)
	})
}

// endAll kills the processes in the namespaces until there are none: one may have made another meanwhile.
func endAll(spaces map[string]bool) error {
	for deadline := time.Now().Add(reapTimeout); ; {
		left, err := killRound(spaces)
		if err != nil || left == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes do not end", left)
		}
	}
}

// killRound kills each process in the namespaces, waits a little for it, and says how many there were. The youngest
// goes first: a parent that is still there buries its children, and none is left to whoever is process 1.
func killRound(spaces map[string]bool) (found int, err error) {
	pids, err := processes()
	if err != nil {
		return 0, err
	}
	slices.SortFunc(pids, func(a, b int) int { return b - a })
	for _, pid := range pids {
		if pid == os.Getpid() || !spaces[namespaceOf(pid, "net")] {
			continue
		}
		found++
		if err := endProcess(pid, func(pid int) bool { return spaces[namespaceOf(pid, "net")] }); err != nil {
			return found, fmt.Errorf("end process %d: %w", pid, err)
		}
	}
	return found, nil
}

// endProcess kills by a handle, looking again once it holds it: the number may be another process's by now.
func endProcess(pid int, is func(pid int) bool) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !is(pid) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	const patience = 1000 // milliseconds
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, patience)
	return nil
}
