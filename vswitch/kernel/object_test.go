package kernel

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestObject compiles the C anew: the object that is committed is what comes of the source beside it.
func TestObject(t *testing.T) {
	if _, err := exec.LookPath("clang"); err != nil && os.Getenv("SLUICE_TEST_NO_SKIP") == "" {
		t.Skip("needs clang, llvm and libbpf-dev: scripts/bpf installs them for root")
	}
	built := filepath.Join(t.TempDir(), "port.o")
	if out, err := exec.Command("../../scripts/bpf", built).CombinedOutput(); err != nil {
		t.Fatalf("scripts/bpf: %v\n%s", err, out)
	}
	b, err := os.ReadFile(built)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, object) {
		t.Error("port.o is not what bpf/ compiles to: run scripts/bpf, and commit both")
	}
}
