package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// base says what a file began from. It lies beside the file.
type base struct {
	Generation uint64 `json:"generation"`
	Sum        string `json:"sum,omitempty"` // of the text in force then; empty where the file never was that
}

const maxBase = 1 << 10 // bytes

func basePath(file string) string {
	return filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".base")
}

func sum(src []byte) string {
	h := sha256.Sum256(src)
	return hex.EncodeToString(h[:])
}

// readBase reads what a file began from; ok is false where nobody knows.
func readBase(file string) (b base, ok bool) {
	src, err := read(basePath(file), maxBase)
	return b, err == nil && json.Unmarshal(src, &b) == nil && b.Generation > 0
}

func writeBase(file string, b base) error {
	src, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return write(basePath(file), src)
}

// pristine says whether a file is missing, or as it was written from what was in force.
func pristine(file string) bool {
	src, err := read(file, MaxSource)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	b, ok := readBase(file)
	return err == nil && ok && b.Sum == sum(src)
}

// read reads a whole file of at most limit bytes.
func read(file string, limit int) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, file, limit)
}

func readAll(r io.Reader, name string, limit int) ([]byte, error) {
	src, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err == nil && len(src) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return src, err
}

// write replaces a file as a whole.
func write(file string, src []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(src); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
