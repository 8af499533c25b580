package matrix

import (
	"flag"
	"os"
	"testing"

	"sluice/firewall"
)

var writeRouter = flag.Bool("write-router", false, "TestRootMatrixRouter writes router.txt anew")

// TestRootMatrixRouter holds what the matrix says of a router against a real one, with the policy and without.
func TestRootMatrixRouter(t *testing.T) {
	policy, err := firewall.Load("policy.yaml", []byte(Policy), Inventory())
	if err != nil {
		t.Fatal(err)
	}
	cases, said := Cases(), Router{}
	for _, p := range []*firewall.Policy{policy, nil} {
		t.Run(map[bool]string{true: "policy", false: "plain"}[p != nil], func(t *testing.T) {
			k := NewKernel(t, p)
			for _, c := range cases {
				for i := range c.Before {
					k.exchange(c.Before[i : i+1])
				}
				s, result := said[c.Name], c.Result(k.exchange(c.Judged))
				if s.Plain = result; p != nil {
					s.Policy = result
				}
				said[c.Name] = s
			}
		})
	}
	if *writeRouter {
		if err := os.WriteFile("testdata/router.txt", []byte(said.Text(cases)), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	file := Said()
	for _, c := range cases {
		if file[c.Name] != said[c.Name] {
			t.Errorf("%s: the file has %q, the router says %q", c.Name, file[c.Name], said[c.Name])
		}
	}
}
