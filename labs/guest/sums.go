package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
)

// sums remember what files hold, by a sum of each, so that not every deploy reads all that is in an image. A file is
// taken for the same while its size, its times and its place on the disk are.
type sums struct {
	path    string
	known   map[string]fileSum
	changed bool
}

// fileSum is what is known of a file.
type fileSum struct {
	Size    int64    `json:"size"`
	Inode   uint64   `json:"inode"`
	Changed [2]int64 `json:"changed"` // the inode (ctime), which no program sets: seconds and nanoseconds
	Sum     string   `json:"sum"`     // SHA-256
}

// loadSums reads what is remembered in a cache's folder. What cannot be read is not known.
func loadSums(cache string) *sums {
	s := &sums{path: filepath.Join(cache, "sums.json"), known: map[string]fileSum{}}
	b, err := os.ReadFile(s.path)
	if err == nil {
		err = json.Unmarshal(b, &s.known)
	}
	if err != nil || s.known == nil {
		s.known = map[string]fileSum{}
	}
	return s
}

// of is the sum of what a file holds.
func (s *sums) of(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	now := fileSum{Size: info.Size()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		now.Inode, now.Changed = st.Ino, [2]int64{st.Ctim.Sec, st.Ctim.Nsec}
	}
	then := s.known[path]
	now.Sum = then.Sum
	if now == then && then.Sum != "" {
		return then.Sum, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	now.Sum = sumOf(b)
	s.known[path], s.changed = now, true
	return now.Sum, nil
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// save remembers for the next time. Files that are no more are forgotten.
func (s *sums) save() error {
	if !s.changed {
		return nil
	}
	for path := range s.known {
		if _, err := os.Stat(path); err != nil {
			delete(s.known, path)
		}
	}
	return writeJSON(s.path, s.known)
}
