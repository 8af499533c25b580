package control

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/firewall/inspect"
	"sluice/vswitch"
)

// Bounds of a request's body in bytes. A policy of 100,000 rules has about 10 MB of YAML; JSON may double it.
const (
	maxBody       = 64 << 10
	maxTraceBody  = 128 << 10 // a frame of 64 KiB, in base64
	maxWatchBody  = 2 << 20   // as many sights as a switch takes, with as many addresses
	maxPolicyBody = 32 << 20
	maxExecBody   = 4 << 20 // a command line may hold 2 MiB (execve(2))
)

// limits bound how long one request may keep the server busy.
type limits struct {
	header time.Duration // until its header is there
	body   time.Duration // until its body is
	answer time.Duration // for the work, and once more for writing the answer; streams have no such limit
	change time.Duration // the same, for what reads a policy or waits for the appliance and for what is still in it
}

var usualLimits = limits{header: 5 * time.Second, body: 10 * time.Second, answer: 30 * time.Second, change: 2 * time.Minute}

func init() { huma.NewError = newProblem }

// routes registers every operation; the OpenAPI document at /openapi.json is made from it.
func (s *Server) routes() {
	config := huma.DefaultConfig("Sluice: a running lab", "1")
	config.CreateHooks = nil // no $schema in answers: scripts read them
	config.DocsPath = ""     // a page that would load its scripts from the internet
	config.RejectUnknownQueryParameters = true
	api := humago.New(s.mux, config)

	r := router{api, s.limits}
	get(r, "/v1/lab", "The lab, its guests and their state", s.getLab)
	get(r, "/v1/status", "The switch", s.getStatus)
	get(r, "/v1/placement", "Where the policy is enforced, and the receipts of earlier changes", s.getPlacement)
	put(r, "/v1/placement", "Change where the policy is enforced; the answer is a receipt", maxBody, s.putPlacement)
	get(r, "/v1/policy", "The policy in force", s.getPolicy)
	put(r, "/v1/policy", "Put a policy in force", maxPolicyBody, s.putPolicy)
	post(r, "/v1/policy/lint", "Read a policy as PUT would, and say what looks wrong", maxPolicyBody, s.lintPolicy)
	get(r, "/v1/policy/render", "The policy in force, in another language", s.renderPolicy)
	post(r, "/v1/policy/render", "A policy that is not in force, in another language", maxPolicyBody, s.renderText)
	get(r, "/v1/inventory", "What a policy may refer to in this lab", s.getInventory)
	get(r, "/v1/flows", "The flows", s.getFlows)
	get(r, "/v1/fdb", "The MACs that the switch knows, and the port of each", s.getFDB)
	get(r, "/v1/stats", "The counters", s.getStats)
	post(r, "/v1/forget", "Count from zero, and forget what was learnt", maxBody, s.forget)
	get(r, "/v1/watch", "What the watch has seen since it was set", s.getWatch)
	put(r, "/v1/watch", "Count frames at insertion points, from now on and instead of an earlier watch", maxWatchBody, s.putWatch)
	get(r, "/v1/inspections", "What the appliance has found in the frames that it looked into", s.getInspections)
	post(r, "/v1/trace", "Explain the way of a frame that nobody sends", maxTraceBody, s.trace)
	post(r, "/v1/appliance/{drill}", "Do something to the appliance's machine, for a drill", maxBody, s.drill)
	post(r, "/v1/stop", "End the lab and its guests", maxBody, s.stop)
	s.streamRoutes(api)
}

// answer is what every operation that is not a stream gives.
type answer[T any] struct{ Body T }

// Done is the answer of an operation that has nothing to tell.
type Done struct{}

// ask is the input of an operation with a body.
type ask[T any] struct{ Body T }

// router registers operations with the server's limits.
type router struct {
	api    huma.API
	limits limits
}

type handler[I, O any] func(context.Context, *I) (O, error)

func get[I, O any](r router, path, summary string, h handler[I, O]) {
	register(r, operation(http.MethodGet, path, summary), 0, r.limits.answer, h)
}

func post[I, O any](r router, path, summary string, body int64, h handler[I, O]) {
	register(r, operation(http.MethodPost, path, summary), body, r.limits.change, h)
}

func put[I, O any](r router, path, summary string, body int64, h handler[I, O]) {
	register(r, operation(http.MethodPut, path, summary), body, r.limits.change, h)
}

func register[I, O any](r router, op huma.Operation, body int64, limit time.Duration, h handler[I, O]) {
	op.MaxBodyBytes = body
	op.BodyReadTimeout = r.limits.body
	op.Middlewares = huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
		_, w := humago.Unwrap(ctx)
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(r.limits.body + 2*limit))
		next(ctx)
	}}
	huma.Register(r.api, op, func(ctx context.Context, in *I) (*answer[O], error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		out, err := h(ctx, in)
		if err != nil {
			return nil, problemOf(err)
		}
		return &answer[O]{Body: out}, nil
	})
}

func operation(method, path, summary string) huma.Operation {
	return huma.Operation{
		OperationID: huma.GenerateOperationID(method, path, struct{}{}),
		Method:      method, Path: path, Summary: summary,
	}
}

func (s *Server) getLab(context.Context, *struct{}) (LabInfo, error) { return s.lab.Inspect(), nil }

func (s *Server) getStatus(context.Context, *struct{}) (vswitch.Status, error) {
	return s.sw.Status(), nil
}

// PlacementInfo is where the policy is enforced, and how it came there.
type PlacementInfo struct {
	Placement firewall.Placement  `json:"placement"`
	Epoch     uint64              `json:"epoch"`
	Changing  bool                `json:"changing" doc:"A change is running"`
	Kept      *vswitch.KeptStatus `json:"kept,omitempty" doc:"Flows that the last change has kept on the way of another placement"`
	History   []vswitch.Receipt   `json:"history" doc:"Of the latest changes, oldest first"`
}

func (s *Server) getPlacement(context.Context, *struct{}) (PlacementInfo, error) {
	st := s.sw.Status()
	return PlacementInfo{Placement: st.Placement, Epoch: st.Epoch, Changing: st.Changing, Kept: st.Kept, History: s.sw.History()}, nil
}

// PlaceRequest asks for a change of placement.
type PlaceRequest struct {
	To       string `json:"to" doc:"A placement"`
	Handover string `json:"handover,omitempty" enum:"carry,keep,cut" doc:"What becomes of running flows; if left out, as the lab file says"`
	Fail     string `json:"fail,omitempty" enum:"closed,open" doc:"What becomes of frames while the appliance fails; if left out, as the policy says"`
}

func (s *Server) putPlacement(ctx context.Context, in *ask[PlaceRequest]) (vswitch.Receipt, error) {
	to, err := firewall.ParsePlacement(in.Body.To)
	if err != nil {
		return vswitch.Receipt{}, fault.Errorf(fault.BadInput, "%w", err)
	}
	return s.sw.Place(ctx, to, vswitch.PlaceOptions{Handover: vswitch.Handover(in.Body.Handover), Fail: vswitch.Fail(in.Body.Fail)})
}

func (s *Server) getFlows(context.Context, *struct{}) ([]firewall.FlowRecord, error) {
	return s.sw.Flows(), nil
}

func (s *Server) getFDB(context.Context, *struct{}) ([]vswitch.MACEntry, error) {
	return s.sw.FDB(), nil
}

func (s *Server) getStats(context.Context, *struct{}) (vswitch.Stats, error) {
	return s.sw.Stats(), nil
}

// ForgetRequest says what is forgotten beside counters and what was learnt.
type ForgetRequest struct {
	History bool `json:"history,omitempty" doc:"The receipts of earlier changes of placement, too"`
}

func (s *Server) forget(ctx context.Context, in *ask[ForgetRequest]) (Done, error) {
	return Done{}, s.sw.Forget(ctx, in.Body.History)
}

func (s *Server) getWatch(context.Context, *struct{}) (vswitch.Watched, error) {
	return s.sw.Watched(), nil
}

// WatchRequest says what a watch counts.
type WatchRequest struct {
	Sights []vswitch.Sight `json:"sights" maxItems:"256" doc:"None: the watch ends"`
}

func (s *Server) putWatch(_ context.Context, in *ask[WatchRequest]) (Done, error) {
	if err := s.sw.Watch(in.Body.Sights); err != nil {
		return Done{}, fault.Errorf(fault.BadInput, "%w", err)
	}
	return Done{}, nil
}

func (s *Server) getInspections(ctx context.Context, _ *struct{}) (inspect.Report, error) {
	return s.lab.Inspections(ctx)
}

func (s *Server) trace(_ context.Context, in *ask[vswitch.TraceRequest]) (vswitch.TraceResult, error) {
	res, err := s.sw.Trace(in.Body)
	if err != nil {
		return res, fault.Errorf(fault.BadInput, "%w", err)
	}
	return res, nil
}

// drillRequest names a drill.
type drillRequest struct {
	Drill string `path:"drill" enum:"kill,stall,resume,restart"`
}

func (s *Server) drill(ctx context.Context, in *drillRequest) (Done, error) {
	return Done{}, s.lab.Appliance(ctx, Drill(in.Drill))
}

func (s *Server) stop(context.Context, *struct{}) (Done, error) {
	s.lab.Stop()
	return Done{}, nil
}
