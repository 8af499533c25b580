package commands

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sluice/firewall/fault"
	"sluice/labs/boundlog"
	"sluice/labs/labfile"
	"sluice/labs/running"
	"sluice/vswitch/cli"
	"sluice/vswitch/control"
)

// A bundle is what a maintainer needs to see a fault again. It says nothing of the machine's other affairs: no
// environment, no names of users, hosts or processes, and no file of anybody's but the lab's own; and nothing that a
// student has answered or typed.

// maxMember bounds one file of a bundle, in bytes: of what is longer the end is there.
const maxMember = 1 << 20

// member is one file of a bundle.
type member struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Bytes   int    `json:"bytes"`
	content []byte
}

// bundle collects members. What cannot be had is a member that says why.
type bundle struct {
	members []member
	homes   []string
}

// bundled is what is said of a bundle that has been written.
type bundled struct {
	File    string   `json:"file"`
	Bytes   int64    `json:"bytes"`
	Members []member `json:"members"`
}

// makeBundle collects a bundle, says what is in it, and only then writes it.
func makeBundle(cmd *cobra.Command, path string) error {
	out, err := cli.OutputOf(cmd)
	if err != nil {
		return err
	}
	labs, err := bundleLabs(cmd)
	if err != nil {
		return err
	}
	if path == "" {
		path = "sluice-" + time.Now().UTC().Format("20060102-150405") + ".tar.gz"
	}
	b := &bundle{homes: homes()}
	b.machine()
	for _, name := range labs {
		b.lab(cmd.Context(), name)
	}
	out.Note("In the bundle, and nothing else:")
	for _, m := range b.members {
		out.Note("  %-40s %8d bytes  %s", m.Name, m.Bytes, m.About)
	}
	size, err := b.write(path)
	if err != nil {
		return err
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	made := bundled{File: path, Bytes: size, Members: b.members}
	return out.Print(made, func(w io.Writer) { fmt.Fprintf(w, "%s, %d bytes: look into it before you send it\n", path, size) })
}

// bundleLabs are the labs that a bundle is of: the one that --lab names, else all that are here.
func bundleLabs(cmd *cobra.Command) ([]string, error) {
	here, err := running.DeployedNames()
	if err != nil {
		return nil, err
	}
	name := cli.LabOf(cmd)
	if name == "" {
		return here, nil
	}
	if !running.Present(name) {
		return nil, fault.Errorf(fault.BadInput, "no lab %s is deployed here; see: sluice lab ls", name)
	}
	return []string{name}, nil
}

// homes are the folders whose names say who somebody is.
func homes() (dirs []string) {
	if dir, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, dir)
	}
	if u, err := user.Lookup(os.Getenv("SUDO_USER")); err == nil {
		dirs = append(dirs, u.HomeDir)
	}
	return dirs
}

// add adds a file; err is why there is none.
func (b *bundle) add(name, about string, content []byte, err error) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		name, content = name+".missing", []byte(err.Error()+"\n")
	}
	for _, home := range b.homes {
		if len(home) > 1 {
			content = bytes.ReplaceAll(content, []byte(home), []byte("~"))
		}
	}
	content = content[max(0, len(content)-maxMember):]
	b.members = append(b.members, member{Name: name, About: about, Bytes: len(content), content: content})
}

func (b *bundle) addJSON(name, about string, v any, err error) {
	var content []byte
	if err == nil {
		content, err = json.MarshalIndent(v, "", "  ")
	}
	b.add(name, about, append(content, '\n'), err)
}

// machine adds what is the same for all labs.
func (b *bundle) machine() {
	b.addJSON("versions.json", "of sluice, what it is built of, the kernel and the programs that labs use", versions(), nil)
	found := []finding{machine(), root(), disk()}
	if os.Geteuid() == 0 {
		found = append(found, devices()...)
	}
	b.addJSON("doctor.json", "what this machine can do", append(found, programs()...), nil)
}

// versions are those of this program, its modules, the kernel and Debian's packages.
func versions() map[string]string {
	v := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		v["sluice"], v["go"] = info.Main.Version, info.GoVersion
		for _, s := range info.Settings {
			if strings.HasPrefix(s.Key, "vcs.") || strings.HasPrefix(s.Key, "GO") {
				v[s.Key] = s.Value
			}
		}
		for _, m := range info.Deps {
			v[m.Path] = m.Version
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil { // without its node name
		v["kernel"] = strings.Join([]string{unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]), unix.ByteSliceToString(u.Machine[:])}, " ")
	}
	for _, p := range []string{"qemu-system-x86", "nftables", "conntrack", "iproute2", "iperf3", "tcpdump", "busybox-static"} {
		if out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", p).Output(); err == nil {
			v["debian "+p] = string(out)
		}
	}
	return v
}

// lab adds what is known of a lab that is deployed, whether its process lives or not.
func (b *bundle) lab(ctx context.Context, name string) {
	dir, err := control.LabDir(name)
	if err != nil {
		return
	}
	at := "labs/" + name + "/"
	b.files(at, name)
	for _, f := range []struct{ file, about string }{
		{running.LogFile, "what the lab process said"},
		{running.EventsFile, "what happened in the lab"},
	} {
		content, err := boundlog.Tail(filepath.Join(dir, f.file), maxMember)
		b.add(at+f.file, f.about, content, err)
	}
	c, err := control.Dial(ctx, name)
	if err != nil {
		b.add(at+"running", "", nil, err)
		return
	}
	defer c.Close()
	info, err := c.Inspect(ctx)
	b.addJSON(at+"inspect.json", "the lab and the state of its guests", info, err)
	placement, err := c.Placement(ctx)
	b.addJSON(at+"receipts.json", "the placement, and the receipts of its changes", placement, err)
	policy, err := c.Policy(ctx)
	b.add(at+"policy.yaml", "the policy in force", []byte(policy.Source), err)
	stats, err := c.Stats(ctx)
	b.addJSON(at+"stats.json", "the counters", stats, err)
}

// files adds the lab file, and how it was deployed: by what name, but not for which student or from which folder.
func (b *bundle) files(at, name string) {
	l, err := running.Deployed(name)
	if err != nil {
		b.add(at+"lab.yaml", "", nil, err)
		return
	}
	file, err := labfile.ReadBounded(l.Files, "lab.yaml")
	b.add(at+"lab.yaml", "the lab file", file, err)
	_, o, err := running.DeployedAs(name)
	how := map[string]string{"guests": o.Guests, "placement": o.Placement, "name": o.Name}
	b.addJSON(at+"deployed.json", "how it was deployed", how, err)
}

// write makes the file, for its owner only, and never in place of another.
func (b *bundle) write(path string) (size int64, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return 0, fault.Errorf(fault.BadInput, "%s is there already; give the bundle another name", path)
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission):
		return 0, fault.Errorf(fault.BadInput, "write the bundle: %w", err)
	case err != nil:
		return 0, fmt.Errorf("write the bundle: %w", err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			os.Remove(path)
		}
	}()
	zip := gzip.NewWriter(f)
	archive := tar.NewWriter(zip)
	for _, m := range b.members {
		head := &tar.Header{Name: "sluice/" + m.Name, Mode: 0o600, Size: int64(len(m.content)), ModTime: time.Now(), Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(head); err != nil {
			return 0, fmt.Errorf("write the bundle: %w", err)
		}
		if _, err := archive.Write(m.content); err != nil {
			return 0, fmt.Errorf("write the bundle: %w", err)
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		return 0, fmt.Errorf("write the bundle: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
