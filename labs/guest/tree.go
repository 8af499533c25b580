package guest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"

	"sluice/firewall/appliance/admin"
)

// tree is what is in an image, before it is written in either form.
type tree struct {
	files map[string]treeFile // by path without the leading slash
}

// treeFile is one entry: a file of the host's, one with the content given here, a link, a device, or a folder.
type treeFile struct {
	from         string // path on the host
	content      []byte
	link         string // target of a symbolic link
	mode         fs.FileMode
	major, minor uint64 // a character device, in the initramfs only
}

// The files that every guest has and that come from nowhere else.
var fixedFiles = map[string]string{
	"etc/passwd":        "root:x:0:0:root:/root:/bin/sh\ntcpdump:x:72:72:tcpdump:/nonexistent:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
	"etc/group":         "root:x:0:\ntty:x:5:\ntcpdump:x:72:\nnogroup:x:65534:\n",
	"etc/nsswitch.conf": "hosts: files\n",
	// A lesson does not wait 20 times for what is denied.
	"etc/wgetrc":    "tries = 1\ntimeout = 10\n",
	"etc/hosts":     "127.0.0.1 localhost\n::1 localhost\n",
	"etc/profile":   "export PS1='\\h:\\w\\$ '\nalias ll='ls -l'\n",
	"etc/protocols": "icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n",
	"etc/services":  "telnet 23/tcp\nhttp 80/tcp\n",
	"etc/shells":    "/bin/sh\n",
}

var folders = []string{"proc", "sys", "dev", "tmp", "run", "root", "var", "var/log", "etc", "mnt", "usr/lib", "usr/lib64"}

// agentPath is where the program with the agent in it lies.
const agentPath = "sbin/sluice"

// plant collects what an image holds.
func plant(k *kernel, binary string) (*tree, error) {
	t := &tree{files: map[string]treeFile{}}
	for _, d := range folders {
		t.files[d] = treeFile{mode: fs.ModeDir | 0o755}
	}
	t.files["tmp"] = treeFile{mode: fs.ModeDir | 0o777 | fs.ModeSticky}
	t.files["root"] = treeFile{mode: fs.ModeDir | 0o700}
	for name, content := range fixedFiles {
		t.files[name] = treeFile{content: []byte(content), mode: 0o644}
	}
	t.files["dev/console"] = treeFile{mode: fs.ModeCharDevice | 0o600, major: 5, minor: 1}
	t.files["dev/null"] = treeFile{mode: fs.ModeCharDevice | 0o666, major: 1, minor: 3}
	t.files["init"] = treeFile{link: "/" + agentPath}
	t.files["usr/sbin/"+admin.CommandName] = treeFile{link: "/" + agentPath}
	if err := t.addProgram(agentPath, binary); err != nil {
		return nil, err
	}
	if err := t.addPrograms(); err != nil {
		return nil, err
	}
	return t, t.addModules(k)
}

// sorted are the paths in an order in which each folder comes before what is in it.
func (t *tree) sorted() []string {
	for name := range t.files {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := t.files[dir]; !ok {
				t.files[dir] = treeFile{mode: fs.ModeDir | 0o755}
			}
		}
	}
	names := make([]string, 0, len(t.files))
	for name := range t.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// read is a file's content.
func (f *treeFile) read() ([]byte, error) {
	if f.from == "" {
		return f.content, nil
	}
	return os.ReadFile(f.from)
}

// key hashes every input: the paths, kinds and contents, and which kernel they are for.
func (t *tree) key(k *kernel, known *sums) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, "sluice image 2", k.release)
	for _, name := range t.sorted() {
		f := t.files[name]
		sum, err := sumOf(f.content), error(nil)
		if f.from != "" {
			sum, err = known.of(f.from)
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%q %v %q %d %d %s\n", name, f.mode, f.link, f.major, f.minor, sum)
	}
	return hex.EncodeToString(h.Sum(nil))[:24], nil
}

// writeCPIO writes the tree as an initramfs. It is not compressed: a guest without KVM would take longer to unpack it
// than it takes to read.
func (t *tree) writeCPIO(to string) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	w := cpio.Newc.Writer(out)
	for i, name := range t.sorted() {
		r, err := t.record(name)
		if err != nil {
			return err
		}
		r = cpio.MakeReproducible(r)
		r.Ino = uint64(i + 1)
		if err := w.WriteRecord(r); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return err
	}
	return out.Close()
}

func (t *tree) record(name string) (cpio.Record, error) {
	f := t.files[name]
	perm := uint64(f.mode.Perm())
	switch {
	case f.link != "":
		return cpio.Symlink(name, f.link), nil
	case f.mode.IsDir():
		return cpio.Directory(name, perm), nil
	case f.mode&fs.ModeCharDevice != 0:
		return cpio.CharDev(name, perm, f.major, f.minor), nil
	}
	content, err := f.read()
	return cpio.StaticRecord(content, cpio.Info{Name: name, Mode: cpio.S_IFREG | perm}), err
}

// writeDir writes the tree as a folder. Devices stay out: a namespace guest has its own.
func (t *tree) writeDir(to string) error {
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	for _, name := range t.sorted() {
		if err := t.writeFile(filepath.Join(to, name), name); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) writeFile(at, name string) error {
	f := t.files[name]
	switch {
	case f.link != "":
		return os.Symlink(f.link, at)
	case f.mode.IsDir():
		return os.Mkdir(at, f.mode.Perm())
	case f.mode&fs.ModeCharDevice != 0:
		return nil
	}
	content, err := f.read()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(at, os.O_CREATE|os.O_WRONLY|os.O_EXCL, f.mode.Perm())
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, bytes.NewReader(content)); err != nil {
		return err
	}
	return out.Close()
}

// resolve follows the links of a path on the host, so that the file itself is copied.
func resolve(p string) (string, error) {
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(real), nil
}
