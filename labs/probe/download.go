package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"
)

// Download is what came of one.
type Download struct {
	Bytes int64   `json:"bytes"`
	MS    float64 `json:"ms"` // from the request to the last byte
}

// Speed is in bytes a second.
func (d Download) Speed() float64 {
	if d.MS <= 0 {
		return 0
	}
	return float64(d.Bytes) / d.MS * 1000
}

// endless is more than any download gets.
const endless = 1 << 40

// fetch downloads from a guest's service http for so long, and then turns away. That it was given nothing is no error,
// but a speed of 0.
func fetch(ctx context.Context, from Target, during time.Duration) (d Download, err error) {
	if from.Proto != "tcp" {
		return d, fmt.Errorf("a download is by tcp, not %s", from.Proto)
	}
	ctx, cancel := context.WithTimeout(ctx, during)
	defer cancel()
	url := fmt.Sprintf("http://%s/bytes/%d", netip.AddrPortFrom(from.Addr, from.Port), int64(endless))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return d, err
	}
	begun := time.Now()
	defer func() { d.MS = float64(time.Since(begun).Microseconds()) / 1000 }()
	resp, err := (&http.Client{Transport: &http.Transport{DisableCompression: true}}).Do(req)
	if err == nil {
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return d, fmt.Errorf("%s answered %s", url, resp.Status)
		}
		d.Bytes, err = io.Copy(io.Discard, resp.Body)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // as planned
	}
	return d, err
}
