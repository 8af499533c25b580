package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"
)

// qmp gives one command to a QEMU's monitor (docs/interop/qmp-spec of QEMU). The answer to quit may be that QEMU has
// gone.
func qmp(ctx context.Context, socket, command string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("reach QEMU: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	answers := bufio.NewScanner(io.LimitReader(conn, 1<<20))
	if !answers.Scan() {
		return fmt.Errorf("%s: QEMU does not greet", command)
	}
	for _, c := range []string{"qmp_capabilities", command} {
		if err := qmpCall(conn, answers, c); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
	}
	return nil
}

func qmpCall(w io.Writer, answers *bufio.Scanner, command string) error {
	if err := json.NewEncoder(w).Encode(map[string]string{"execute": command}); err != nil {
		return err
	}
	for answers.Scan() {
		var a struct {
			Return json.RawMessage        `json:"return"`
			Error  *struct{ Desc string } `json:"error"`
		}
		if err := json.Unmarshal(answers.Bytes(), &a); err != nil {
			return err
		}
		if a.Error != nil {
			return fmt.Errorf("QEMU: %s", a.Error.Desc)
		}
		if a.Return != nil {
			return nil
		} // else it is an event
	}
	if command == "quit" {
		return nil
	}
	return fmt.Errorf("QEMU does not answer: %w", io.ErrUnexpectedEOF)
}
