package control

import (
	"context"
	"runtime/debug"
	"time"

	"sluice/firewall"
	"sluice/firewall/fault"
	"sluice/vswitch"
)

// PolicyInForce is the policy that is enforced, if the placement enforces any.
type PolicyInForce struct {
	PolicyText
	Generation   uint64     `json:"generation" doc:"Counts from 1"`
	Since        time.Time  `json:"since" doc:"In force since then; its rules count from then on"`
	Administered string     `json:"administered" enum:"host,appliance" doc:"Where the policy is changed: on the host, or inside the appliance (placement push)"`
	Realized     []Realized `json:"realized" doc:"By vNIC, and by port of the appliance"`
}

// Realized is the policy that is in force at one port.
type Realized struct {
	Point      string `json:"vnic"`
	Generation uint64 `json:"generation" doc:"0 is none"`
}

// Where the policy is administered.
const (
	onHost      = "host"
	InAppliance = "appliance"
)

// errNoPolicy is said before the lab's first policy.
var errNoPolicy = fault.Errorf(fault.Failed, "no policy is in force yet: put one in force with `sluice policy apply FILE`")

func (s *Server) getPolicy(context.Context, *struct{}) (PolicyInForce, error) {
	p, generation := s.sw.Policy()
	if p == nil {
		return PolicyInForce{}, errNoPolicy
	}
	out := PolicyInForce{
		PolicyText: PolicyText{File: p.File, Source: string(p.Source)}, Generation: generation, Since: s.sw.PolicySince(),
		Administered: onHost, Realized: []Realized{},
	}
	if s.sw.Status().Placement == firewall.Push { // the appliance enforces nothing: its ports have no policy
		out.Administered = InAppliance
		for _, r := range s.sw.Realized() {
			out.Realized = append(out.Realized, Realized{r.VNIC, r.Generation})
		}
		return out, nil
	}
	for _, port := range s.sw.Stats().Ports {
		if port.ID != 0 {
			out.Realized = append(out.Realized, Realized{port.Name, port.Generation})
		}
	}
	return out, nil
}

func (s *Server) getInventory(context.Context, *struct{}) (firewall.Inventory, error) {
	return *s.lab.Inventory(), nil
}

func (s *Server) putPolicy(ctx context.Context, in *ask[PolicyText]) (vswitch.PolicyResult, error) {
	p, err := s.load(in.Body)
	if err != nil {
		return vswitch.PolicyResult{}, err
	}
	return s.sw.SetPolicy(ctx, p)
}

// longPolicy is from how many bytes on what it took to read a policy is worth giving back to the machine at once.
const longPolicy = 1 << 20

// giveBack returns memory that only the reading of a long policy needed: the lab lives on for hours, and the machine
// has other labs.
func giveBack(source string) {
	if len(source) >= longPolicy {
		go debug.FreeOSMemory()
	}
}

// load reads a policy; whatever is wrong with it is bad input.
func (s *Server) load(text PolicyText) (*firewall.Policy, error) {
	defer giveBack(text.Source)
	p, err := s.lab.LoadPolicy(text.File, []byte(text.Source))
	if err != nil && len(fault.In(err)) == 0 {
		return nil, fault.Errorf(fault.BadInput, "%w", err)
	}
	return p, err
}

// LintResult is what is allowed in a policy but looks wrong. A policy with errors gives a problem instead.
type LintResult struct {
	File     string             `json:"file"`
	Rules    int                `json:"rules"`
	Complete bool               `json:"complete" doc:"False: the rules overlap too much for all of them to be compared"`
	Findings []firewall.Finding `json:"findings"`
}

// Lint says what looks wrong in a policy.
func Lint(p *firewall.Policy) LintResult {
	found, complete := p.Lint()
	return LintResult{File: p.File, Rules: len(p.Rules), Complete: complete, Findings: append([]firewall.Finding{}, found...)}
}

func (s *Server) lintPolicy(_ context.Context, in *ask[PolicyText]) (LintResult, error) {
	p, err := s.load(in.Body)
	if err != nil {
		return LintResult{}, err
	}
	return Lint(p), nil
}

// Rendering is a policy in another language.
type Rendering struct {
	To   string `json:"to"`
	Text string `json:"text"`
}

func (s *Server) renderPolicy(_ context.Context, in *struct {
	To string `query:"to" enum:"nft" default:"nft" doc:"The language: nft is nftables' own"`
}) (Rendering, error) {
	p, _ := s.sw.Policy()
	if p == nil {
		return Rendering{}, errNoPolicy
	}
	return Render(p, in.To)
}

func (s *Server) renderText(_ context.Context, in *struct {
	To   string `query:"to" enum:"nft" default:"nft" doc:"The language: nft is nftables' own"`
	Body PolicyText
}) (Rendering, error) {
	p, err := s.load(in.Body)
	if err != nil {
		return Rendering{}, err
	}
	return Render(p, in.To)
}

// Render writes a policy in another language; nft is the only one.
func Render(p *firewall.Policy, to string) (Rendering, error) {
	text, err := p.NFT(firewall.NFTOptions{Comment: "from " + p.File})
	return Rendering{To: to, Text: text}, err
}
