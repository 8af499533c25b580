package billing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// The bounds of the service: nobody can make it wait, or keep more than it should.
const (
	maxBody        = 4 << 10 // bytes of a request
	maxHeader      = 8 << 10
	maxConnections = 64
	maxPosted      = maxItems // payments besides the scenario's own
	requestTime    = 10 * time.Second
	idleTime       = 30 * time.Second
	shutdownTime   = 2 * time.Second
)

// service is an account that can be paid over HTTP. It keeps nothing when it ends.
type service struct {
	scenario *Scenario
	order    Order
	mu       sync.Mutex
	known    map[string]Payment // all of them, by id
	posted   []Payment
}

// NewHandler makes the service: POST /payments, GET /statement.
func NewHandler(s *Scenario, o Order) http.Handler {
	v := &service{scenario: s, order: o, known: map[string]Payment{}}
	for _, p := range s.Payments {
		v.known[p.ID] = p
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /payments", v.pay)
	mux.HandleFunc("GET /statement", v.statement)
	return mux
}

// posting is a payment as it comes in.
type posting struct {
	ID    string `json:"id"`
	Cents Cents  `json:"cents"`
	Date  string `json:"date"` // the scenario's last day where there is none
}

// receipt is the answer to a payment.
type receipt struct {
	ID     string `json:"id"`
	Cents  Cents  `json:"cents"`
	Date   Day    `json:"date"`
	Known  bool   `json:"known"` // it was told before, and counts once
	Owed   Cents  `json:"owed_cents"`
	Credit Cents  `json:"credit_cents"`
}

func (v *service) pay(w http.ResponseWriter, r *http.Request) {
	p, err := v.payment(http.MaxBytesReader(w, r.Body, maxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Errorf("at most %d bytes are taken", maxBody))
		return
	case err != nil:
		refuse(w, http.StatusBadRequest, err)
		return
	}
	known, err := v.take(p)
	switch {
	case errors.Is(err, errOther):
		refuse(w, http.StatusConflict, err)
		return
	case err != nil:
		refuse(w, http.StatusInsufficientStorage, err)
		return
	}
	code := http.StatusCreated
	if known {
		code = http.StatusOK
	}
	b := v.book()
	answer(w, code, receipt{p.ID, p.Amount, p.Date, known, b.Owed(), b.credit})
}

// payment reads a request's body.
func (v *service) payment(body io.Reader) (Payment, error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return Payment{}, err
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	var got posting
	if err := in.Decode(&got); err != nil {
		return Payment{}, fmt.Errorf("no payment: %w; send {\"id\": \"july\", \"cents\": 1800}", err)
	}
	if _, err := in.Token(); err != io.EOF {
		return Payment{}, errors.New("something comes after the payment; send one alone")
	}
	day, ok := v.scenario.Until, true
	if got.Date != "" {
		day, ok = parseDay(got.Date)
	}
	switch {
	case !isName(got.ID):
		return Payment{}, fmt.Errorf("id %q cannot be a name; %s", printable(got.ID), nameHelp)
	case got.Cents < 1 || got.Cents > maxAmount:
		return Payment{}, fmt.Errorf("cents is %d; it is from 1 to %d", int64(got.Cents), int64(maxAmount))
	case !ok || day > v.scenario.Until:
		return Payment{}, fmt.Errorf("date %q is no day until %s", printable(got.Date), v.scenario.Until)
	}
	return Payment{got.ID, day, got.Cents}, nil
}

// errOther refuses a payment whose id is that of another one.
var errOther = errors.New("is another payment under the same id")

// take keeps a payment, once. known says that it was there.
func (v *service) take(p Payment) (known bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before, known := v.known[p.ID]
	switch {
	case known && before != p:
		return false, fmt.Errorf("%s of %s %w: %s of %s", p.Amount, p.Date, errOther, before.Amount, before.Date)
	case known:
		return true, nil
	case len(v.posted) == maxPosted:
		return false, fmt.Errorf("the book is full: it takes %d payments", maxPosted)
	}
	v.known[p.ID] = p
	v.posted = append(v.posted, p)
	return false, nil
}

func (v *service) book() *Book {
	v.mu.Lock()
	s := v.scenario.with(v.posted)
	v.mu.Unlock()
	return Run(s, v.order)
}

func (v *service) statement(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, v.book().Statement())
}

func refuse(w http.ResponseWriter, code int, err error) {
	answer(w, code, struct {
		Error string `json:"error"`
	}{err.Error()})
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // who asked has gone
}

// serve answers on a listener until the context ends.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler: h, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: requestTime, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: idleTime,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(l, maxConnections)) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if server.Shutdown(last) != nil {
		return server.Close()
	}
	return nil
}
