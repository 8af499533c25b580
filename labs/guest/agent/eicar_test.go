package agent

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// TestPieceArrives has a reader that does not read: what does not fit its window has not arrived, and the next piece
// must wait.
func TestPieceArrives(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	reader, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	sender, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	const size = 512 << 10
	if err := sender.(*net.TCPConn).SetWriteBuffer(2 * size); err != nil {
		t.Fatal(err)
	}
	if _, err := sender.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{})
	go func() { untilArrived(withConn(context.Background(), sender)); close(arrived) }()
	select {
	case <-arrived:
		t.Error("a piece that nobody has read has arrived")
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := io.CopyN(io.Discard, reader, size); err != nil {
		t.Fatal(err)
	}
	select {
	case <-arrived:
	case <-time.After(pieceWait / 2):
		t.Error("all is read, and it has not arrived")
	}
}
