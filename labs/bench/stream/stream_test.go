package stream

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"testing"
	"time"
)

// TestCount feeds numbers, as they came, and checks what is said of them.
func TestCount(t *testing.T) {
	cases := []struct {
		name    string
		numbers []int
		want    Result
	}{
		{"all, in order", []int{0, 1, 2, 3}, Result{Sent: 4, Received: 4}},
		{"one lost", []int{0, 1, 3}, Result{Sent: 4, Received: 3, Lost: 1}},
		{"first ones lost", []int{3}, Result{Sent: 4, Received: 1, Lost: 3}},
		{"one twice", []int{0, 1, 1, 2, 3}, Result{Sent: 4, Received: 4, Duplicated: 1}},
		{"two swapped", []int{0, 2, 1, 3}, Result{Sent: 4, Received: 4, Reordered: 1}},
		{"late and twice", []int{0, 2, 3, 1, 1}, Result{Sent: 4, Received: 4, Reordered: 1, Duplicated: 1}},
		{"a number that cannot be", []int{0, 1, 9, -1, 2, 3}, Result{Sent: 4, Received: 4}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var n count
			now := time.Now()
			for _, i := range c.numbers {
				if n.add(i, 4, now) {
					t.Fatal("over before its farewell")
				}
			}
			if !n.add(4, 4, now) {
				t.Error("the farewell did not end it")
			}
			if got := n.result(); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// TestSendAndReceive runs the commands' two ends over loopback.
func TestSendAndReceive(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sent := make(chan error, 1)
	go func() { sent <- send(conn.LocalAddr().String(), 5000, 200) }()
	r, err := receive(conn, 10*time.Second, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if r.Sent != 200 || r.Received+r.Lost != 200 {
		t.Errorf("%+v: want 200 sent, and each received or lost", r)
	}
}

// TestChatAndKnock talks to a real echo, and knocks where nobody listens.
func TestChatAndKnock(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	talk, err := chat(ctx, l.Addr().String(), time.Millisecond, 5*time.Second)
	if err != nil || talk.Broken != "" || talk.Lines == 0 {
		t.Errorf("chat: %+v, %v", talk, err)
	}
	k := knockAt(t, l.Addr().String())
	if k.Opened != k.Tried {
		t.Errorf("a listener opened %d of %d", k.Opened, k.Tried)
	}
	l.Close()
	if k := knockAt(t, l.Addr().String()); k.Opened != 0 {
		t.Errorf("nobody listens, and %d of %d opened", k.Opened, k.Tried)
	}
}

func knockAt(t *testing.T, address string) knocks {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	k, err := knock(ctx, address, 5*time.Millisecond, time.Second)
	if err != nil {
		b, _ := json.Marshal(k)
		t.Fatalf("knock: %s, %v", b, err)
	}
	return k
}
