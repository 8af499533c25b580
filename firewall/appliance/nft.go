package appliance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"
)

// ApplyNFT replaces the whole ruleset by script, in one transaction of the kernel: either all of it is in force when it
// returns, or nothing has changed. A script that is in force already costs one question to the kernel.
// errors.ErrUnsupported says that this kernel lacks what it needs: to judge steered frames, or a helper.
func (a *Appliance) ApplyNFT(script string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gen != 0 && a.script == script {
		if gen, err := generation(); err == nil && gen == a.gen {
			return nil
		}
	}
	if err := a.fits(script); err != nil {
		return err
	}
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader("flush ruleset\n" + script)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := a.run(cmd); err != nil {
		if lacks := a.lacks(script); lacks != nil {
			return lacks
		}
		if killed(err) {
			return errors.New("the kernel has killed nft, as it does where memory is short: " +
				"give the appliance more by memory: in the lab's file")
		}
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(said.String()))
	}
	helpers := declared(script)
	if err := errors.Join(set(Settings(script)), a.unread(helpers)); err != nil {
		return err
	}
	gen, err := generation()
	if err != nil {
		return fmt.Errorf("read the ruleset's generation: %w", err)
	}
	a.script, a.gen, a.helpers = script, gen, helpers
	return nil
}

// killed says whether a program was ended by SIGKILL. Nobody sends nft one but the kernel.
func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Settings reads what a script defines for the kernel beside its rules: how conntrack takes TCP. Keys are paths under
// /proc/sys.
func Settings(script string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(script) {
		for _, name := range []string{"tcp_be_liberal", "tcp_loose"} {
			switch strings.TrimSpace(line) {
			case "define " + name + " = 0":
				all["net/netfilter/nf_conntrack_"+name] = "0"
			case "define " + name + " = 1":
				all["net/netfilter/nf_conntrack_"+name] = "1"
			}
		}
	}
	return all
}

func set(settings map[string]string) error {
	for path, value := range settings {
		if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0); err != nil {
			return fmt.Errorf("set conntrack: %w", err)
		}
	}
	return nil
}

func (a *Appliance) run(cmd *exec.Cmd) error {
	if a.Run != nil {
		return a.Run(cmd)
	}
	return cmd.Run()
}

// generation asks for the number of the ruleset's last change (NFT_MSG_GETGEN,
// include/uapi/linux/netfilter/nf_tables.h).
func generation() (uint32, error) {
	c, err := netfilter.Dial(nil)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	req, err := netfilter.MarshalNetlink(netfilter.Header{
		SubsystemID: netfilter.NFSubsysNFTables,
		MessageType: unix.NFT_MSG_GETGEN,
		Flags:       netlink.Request | netlink.Acknowledge,
	}, nil)
	if err != nil {
		return 0, err
	}
	answers, err := c.Query(req)
	if err != nil {
		return 0, err
	}
	for _, m := range answers {
		if m.Header.Type&0xff != unix.NFT_MSG_NEWGEN {
			continue
		}
		_, attrs, err := netfilter.UnmarshalNetlink(m)
		if err != nil {
			return 0, err
		}
		for _, at := range attrs {
			if at.Type == unix.NFTA_GEN_ID && len(at.Data) == 4 {
				return binary.BigEndian.Uint32(at.Data), nil
			}
		}
	}
	return 0, errors.New("the kernel did not say")
}
