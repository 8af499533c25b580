package memory

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrBroken says that a file does not hold what was saved in it.
var ErrBroken = errors.New("the saved memory is broken")

// chunk is how much is copied at once, and left out where it holds zeros only: a multiple of every page's size.
const chunk = 64 << 10

// Save writes a memory to a file of its size with holes for zeros, and gives the sum that Load asks for.
func Save(f *os.File, path string) (sum string, err error) {
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer to.Close()
	if sum, err = copySparse(f, to); err != nil {
		return "", fmt.Errorf("save the memory: %w", err)
	}
	return sum, to.Close()
}

// Load reads a saved memory into one of that name, and seals it.
func Load(path, name, sum string) (*os.File, error) {
	from, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	f, err := Create(name, 0)
	if err != nil {
		return nil, err
	}
	got, err := copySparse(from, f)
	if err == nil && got != sum {
		err = fmt.Errorf("%w: its sum is %s and not %s", ErrBroken, got, sum)
	}
	if err == nil {
		err = Seal(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("load the memory: %w", err)
	}
	return f, nil
}

// copySparse copies a file's data to an empty one and leaves zeros out. The sum is of what is copied, and where it is:
// CRC-32C, which processors have an instruction for, as it is to find a broken disk and not a forger.
func copySparse(from, to *os.File) (sum string, err error) {
	info, err := from.Stat()
	if err != nil {
		return "", err
	}
	size := info.Size()
	if err := to.Truncate(size); err != nil {
		return "", err
	}
	h, buf := crc32.New(crc32.MakeTable(crc32.Castagnoli)), make([]byte, chunk)
	_ = binary.Write(h, binary.BigEndian, size) // a hash takes everything
	for at := int64(0); at < size; at += chunk {
		data, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole to the end
		}
		if err != nil {
			return "", os.NewSyscallError("seek data", err)
		}
		at = data / chunk * chunk
		if err := copyChunk(from, to, at, buf[:min(chunk, size-at)], h); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("crc32c:%x", h.Sum(nil)), nil
}

var zeros [chunk]byte

func copyChunk(from io.ReaderAt, to io.WriterAt, at int64, buf []byte, h hash.Hash) error {
	if n, err := from.ReadAt(buf, at); n != len(buf) {
		return err
	}
	if bytes.Equal(buf, zeros[:len(buf)]) {
		return nil
	}
	_ = binary.Write(h, binary.BigEndian, at)
	h.Write(buf)
	_, err := to.WriteAt(buf, at)
	return err
}
