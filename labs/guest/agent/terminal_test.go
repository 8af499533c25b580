package agent

import (
	"bufio"
	"os"
	"testing"
)

// TestBackspaceTakesCharacters types characters of two and of three bytes into a terminal, and takes them back.
func TestBackspaceTakesCharacters(t *testing.T) {
	master, slave, err := openTerminal(Size{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll([]*os.File{master, slave})
	const backspace = "\x7f"
	if _, err := master.WriteString("aé€" + backspace + backspace + "ü\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(slave).ReadString('\n'); got != "aü\n" || err != nil {
		t.Errorf("the program reads %q, %v; want aü", got, err)
	}
}
