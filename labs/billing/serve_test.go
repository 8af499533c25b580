package billing

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func startService(t *testing.T) *httptest.Server {
	t.Helper()
	s := load(t, article)
	server := httptest.NewServer(NewHandler(s, s.Order))
	t.Cleanup(server.Close)
	return server
}

// call gives the code and the body of an answer.
func call(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func owedIn(t *testing.T, url string) Cents {
	t.Helper()
	code, body := call(t, "GET", url+"/statement", "")
	var s struct {
		Owed Cents `json:"owed_cents"`
	}
	if err := json.Unmarshal([]byte(body), &s); code != 200 || err != nil {
		t.Fatalf("%d %v: %s", code, err, body)
	}
	return s.Owed
}

// TestService pays step by step: what is answered, and what is owed then.
func TestService(t *testing.T) {
	url := startService(t).URL
	for _, c := range []struct {
		body string
		code int
		says string
		owed Cents
	}{
		{`{"id": "late", "cents": 1800}`, 201, `"known": false`, 2900},
		{`{"id": "late", "cents": 1800}`, 200, `"known": true`, 2900},
		{`{"id": "late", "cents": 1800, "date": "2010-08-31"}`, 200, `"known": true`, 2900},
		{`{"id": "late", "cents": 1801}`, 409, "18.01 of 2010-08-31 is another payment under the same id: 18.00 of 2010-08-31", 2900},
		{`{"id": "late", "cents": 1800, "date": "2010-08-30"}`, 409, "another payment", 2900},
		{`{"id": "autopay-june", "cents": 4200, "date": "2010-06-15"}`, 200, `"known": true`, 2900},
		{`{"id": "autopay-june", "cents": 6000, "date": "2010-06-15"}`, 409, "another payment", 2900},
		{`{"id": "early", "cents": 1800, "date": "2010-06-16"}`, 201, `"credit_cents": 1800`, 0}, // in time: there are no fees
		{``, 400, "no payment", 0},
		{`{"id": "x"}`, 400, "cents is 0", 0},
		{`{"id": "x", "cents": -1}`, 400, "cents is -1", 0},
		{`{"id": "x", "cents": 18.5}`, 400, "no payment", 0},
		{`{"id": "x", "cents": 100000000001}`, 400, "cents is 100000000001", 0},
		{`{"id": "x", "cents": 99999999999999999999}`, 400, "no payment", 0},
		{`{"id": "a b", "cents": 1}`, 400, "cannot be a name", 0},
		{`{"id": "\u001b[31m", "cents": 1}`, 400, "cannot be a name", 0},
		{`{"id": "x", "cents": 1, "date": "2010-09-01"}`, 400, "is no day until 2010-08-31", 0},
		{`{"id": "x", "cents": 1, "date": "today"}`, 400, "is no day", 0},
		{`{"id": "x", "cents": 1, "to": "me"}`, 400, "unknown field", 0},
		{`{"id": "x", "cents": 1} {}`, 400, "one alone", 0},
		{`{"id": "` + strings.Repeat("x", maxBody) + `", "cents": 1}`, 413, "at most 4096 bytes", 0},
		{`{"id": "x", "cents": 1}` + strings.Repeat(" ", maxBody), 413, "at most 4096 bytes", 0},
	} {
		code, body := call(t, "POST", url+"/payments", c.body)
		if code != c.code || !strings.Contains(body, c.says) || strings.Contains(body, "\x1b") {
			t.Errorf("%.80s: %d %s, want %d %s", c.body, code, body, c.code, c.says)
		}
		if got := owedIn(t, url); got != c.owed {
			t.Errorf("%.80s: %s is owed then, want %s", c.body, got, c.owed)
		}
	}
	for path, want := range map[string]int{"GET /payments": 405, "POST /statement": 405, "GET /": 404} {
		method, path, _ := strings.Cut(path, " ")
		if code, _ := call(t, method, url+path, ""); code != want {
			t.Errorf("%s %s: %d, want %d", method, path, code, want)
		}
	}
}

// TestServiceAtOnce: many tell the same payments at once; each counts once.
func TestServiceAtOnce(t *testing.T) {
	s := load(t, article)
	v := &service{scenario: s, order: s.Order, known: map[string]Payment{}}
	var all sync.WaitGroup
	var fresh atomic.Int64
	begin := make(chan struct{}) // so that they meet
	for range 64 {
		all.Go(func() {
			<-begin
			for i := range maxPosted {
				known, err := v.take(Payment{fmt.Sprintf("p%d", i), s.Until, 1})
				if err != nil {
					t.Error(err)
				}
				if !known {
					fresh.Add(1)
				}
			}
		})
	}
	close(begin)
	all.Wait()
	if got := v.book().Owed(); fresh.Load() != maxPosted || len(v.posted) != maxPosted || got != 4700-maxPosted {
		t.Errorf("%d were new, %d are kept, %s is owed", fresh.Load(), len(v.posted), got)
	}
}

func TestServiceIsBounded(t *testing.T) {
	s := load(t, article)
	v := &service{scenario: s, order: s.Order, known: map[string]Payment{}}
	for i := range maxPosted {
		if _, err := v.take(Payment{fmt.Sprintf("p%d", i), s.Until, 1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.take(Payment{"more", s.Until, 1}); err == nil {
		t.Error("one more was taken")
	}
	if known, err := v.take(Payment{"p0", s.Until, 1}); !known || err != nil {
		t.Errorf("a known one: %v %v", known, err)
	}
}

// TestServeEnds: the service ends when it is told to, also with a connection open that says nothing.
func TestServeEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	s := load(t, article)
	go func() { ended <- serve(ctx, l, NewHandler(s, s.Order)) }()
	idle, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if got := owedIn(t, "http://"+l.Addr().String()); got != 4700 {
		t.Errorf("%s is owed", got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// FuzzPayment: whatever is posted, it is refused or is a payment that a scenario could hold.
func FuzzPayment(f *testing.F) {
	f.Add([]byte(`{"id": "late", "cents": 1800, "date": "2010-08-31"}`))
	f.Add([]byte(`{"id": "late", "cents": -1e9}`))
	v := &service{scenario: load(f, article)}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := v.payment(bytes.NewReader(body))
		if err == nil && (!isName(p.ID) || p.Amount < 1 || p.Amount > maxAmount || p.Date < firstDay || p.Date > v.scenario.Until) {
			t.Fatalf("%+v", p)
		}
	})
}
