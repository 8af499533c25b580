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

	"golang.org/x/sync/errgroup"
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

// parts are copied side by side: most of the time goes into new pages, which the kernel makes one after the other.
const parts = 4

// copySparse copies a file's data to an empty one and leaves zeros out. The sums, one of each part, are of what is
// copied, and where it is: CRC-32C, which processors have an instruction for, as it is to find a broken disk and not a
// forger.
func copySparse(from, to *os.File) (sum string, err error) {
	info, err := from.Stat()
	if err != nil {
		return "", err
	}
	size := info.Size()
	if err := to.Truncate(size); err != nil {
		return "", err
	}
	var sums [parts]uint32
	var copying errgroup.Group
	each := (size/parts + chunk) / chunk * chunk
	for i := range sums {
		begin := min(size, int64(i)*each)
		copying.Go(func() (err error) {
			sums[i], err = copyPart(from, to, begin, min(size, begin+each))
			return err
		})
	}
	if err := copying.Wait(); err != nil {
		return "", err
	}
	return fmt.Sprintf("crc32c:%08x", sums), nil
}

// copyPart copies what lies from an offset on, a multiple of chunk, up to an end.
func copyPart(from, to *os.File, begin, end int64) (sum uint32, err error) {
	h, buf := crc32.New(crc32.MakeTable(crc32.Castagnoli)), make([]byte, chunk)
	_ = binary.Write(h, binary.BigEndian, end) // a hash takes everything
	for at := begin; at < end; at += chunk {
		data, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole to the end
		}
		if err != nil {
			return 0, os.NewSyscallError("seek data", err)
		}
		if at = max(at, data/chunk*chunk); at >= end {
			break
		}
		if err := copyChunk(from, to, at, buf[:min(chunk, end-at)], h); err != nil {
			return 0, err
		}
	}
	return h.Sum32(), nil
}

var zeros [chunk]byte

func copyChunk(from io.ReaderAt, to io.WriterAt, at int64, buf []byte, h hash.Hash32) error {
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
