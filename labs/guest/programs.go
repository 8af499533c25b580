package guest

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// program is one of the host's that guests have too.
type program struct {
	name, pkg string // and Debian's package, for those who lack it
	at        string // folder in the image
}

var programs = []program{
	{"busybox", "busybox-static", "bin"},
	{"dash", "dash", "bin"}, // busybox's own sh prefers its applets to the programs below
	{"bash", "bash", "bin"}, // for people
	{"nft", "nftables", "usr/sbin"},
	{"ip", "iproute2", "usr/sbin"},
	{"tc", "iproute2", "usr/sbin"}, // busybox's knows few queues
	{"ss", "iproute2", "usr/bin"},
	{"conntrack", "conntrack", "usr/sbin"},
	{"tcpdump", "tcpdump", "usr/bin"},
	{"iperf3", "iperf3", "usr/bin"},
	{"wget", "wget", "usr/bin"},             // busybox 1.35's crashes where a time-out is given (-T)
	{"traceroute", "traceroute", "usr/bin"}, // busybox's has no ICMP mode (-I)
}

// libraryFolders is where the dynamic linker looks on Debian amd64.
var libraryFolders = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/lib", "/usr/lib", "/usr/local/lib"}

// terminals is where Debian keeps the few terminal descriptions that every machine has (ncurses-base).
const terminals = "/lib/terminfo"

// characters is where Debian keeps the locale agent.Language (libc-bin). Without it a shell takes a letter outside of
// ASCII for several keys.
const characters = "/usr/lib/locale/C.utf8"

// addPrograms puts the host's programs in, and busybox under each of its names that no other program has.
func (t *tree) addPrograms() error {
	var missing []string
	for _, p := range programs {
		from, err := lookPath(p.name)
		if err != nil {
			missing = append(missing, p.pkg)
			continue
		}
		if err := t.addProgram(path.Join(p.at, p.name), from); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: apt-get install %s", ErrMissing, strings.Join(slices.Compact(missing), " "))
	}
	if err := t.addApplets(); err != nil {
		return err
	}
	return errors.Join(t.addFolder(terminals), t.addFolder(characters))
}

// addFolder puts a folder of small files in, where the host has it.
func (t *tree) addFolder(dir string) error {
	return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		real, err := resolve(p)
		t.files[strings.TrimPrefix(p, "/")] = treeFile{from: real, mode: 0o644}
		return err
	})
}

// lookPath is exec.LookPath that also finds an administrator's programs from an ordinary PATH.
func lookPath(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	return exec.LookPath(filepath.Join("/usr/sbin", name))
}

func (t *tree) addApplets() error {
	list, err := run(context.Background(), "/", t.files["bin/busybox"].from, "--list-full")
	if err != nil {
		return fmt.Errorf("%w: apt-get install busybox-static: %w", ErrMissing, err)
	}
	t.files["bin/sh"] = treeFile{link: "/bin/dash"}
	taken := map[string]bool{"sluice": true, "init": true, "sh": true}
	for _, p := range programs {
		taken[p.name] = true
	}
	for _, applet := range strings.Fields(list) {
		if !taken[path.Base(applet)] {
			t.files[applet] = treeFile{link: "/bin/busybox"}
		}
	}
	return nil
}

// addProgram puts a program in with the libraries and the linker that it needs.
func (t *tree) addProgram(at, from string) error {
	real, err := resolve(from)
	if err != nil {
		return err
	}
	t.files[at] = treeFile{from: real, mode: 0o755}
	needs, err := elfLibraries(real)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	for _, lib := range needs {
		name := strings.TrimPrefix(lib, "/")
		if _, ok := t.files[name]; ok {
			continue
		}
		if err := t.addProgram(name, lib); err != nil {
			return err
		}
	}
	return nil
}

// elfLibraries are the linker and the libraries that a program or library names itself, as paths on the host.
func elfLibraries(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var needs []string
	if s := f.Section(".interp"); s != nil {
		b, err := s.Data()
		if err != nil {
			return nil, err
		}
		needs = append(needs, strings.TrimRight(string(b), "\x00"))
	}
	names, err := f.ImportedLibraries()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, err
	}
	for _, n := range names {
		lib, err := findLibrary(n)
		if err != nil {
			return nil, err
		}
		needs = append(needs, lib)
	}
	return needs, nil
}

func findLibrary(name string) (string, error) {
	for _, dir := range libraryFolders {
		p := filepath.Join(dir, name)
		if _, err := resolve(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%w: library %s is not in %s", ErrMissing, name, strings.Join(libraryFolders, ", "))
}
