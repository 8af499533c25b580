package inspect

import (
	"encoding/hex"
	"regexp"

	"sluice/vnic/frame"
)

// Config is what an inspector looks for, and what it then says. Nobody changes one that is in use.
type Config struct {
	// BypassAfter is after how many clean bytes of a flow the rest of it need not be looked at; 0 is never.
	BypassAfter uint64

	signatures []signature
	anomalies  [anomalies]frame.Verdict
	strings    *automaton
	regexes    []int  // the signatures that are regular expressions
	behind     uint32 // bytes that a regular expression may reach back
}

// signature is one thing that must not get through.
type signature struct {
	name    string
	bytes   []byte         // or
	regex   *regexp.Regexp // looked for in maxBehind bytes, and the segment
	verdict frame.Verdict
	proto   uint8       // 0 is any
	ports   []portRange // of either end; none is any
}

type portRange struct{ lo, hi uint16 }

// applies says whether a signature is looked for in a packet's flow.
func (s *signature) applies(k *frame.Key) bool {
	if s.proto != 0 && s.proto != k.Proto && !(s.proto == frame.ProtoICMP && k.Proto == frame.ProtoICMPv6) {
		return false
	}
	if len(s.ports) == 0 {
		return true
	}
	for _, r := range s.ports {
		if r.lo <= k.SrcPort && k.SrcPort <= r.hi || r.lo <= k.DstPort && k.DstPort <= r.hi {
			return k.Proto == frame.ProtoTCP || k.Proto == frame.ProtoUDP
		}
	}
	return false
}

// finish makes a Config ready once its signatures are there.
func (c *Config) finish() {
	strings := map[int32][]byte{}
	for i, s := range c.signatures {
		if s.regex != nil {
			c.regexes = append(c.regexes, i)
			c.behind = maxBehind
			continue
		}
		strings[int32(i)] = s.bytes
	}
	c.strings = newAutomaton(strings)
}

// anomaly is something that no honest sender does, or that would make what the receiver gets differ from what was
// looked at.
type anomaly uint8

const (
	malformed      anomaly = iota // headers that contradict the frame
	fragment                      // part of an IP packet: what it would become is not known
	badFlags                      // TCP flags that no stack sends
	synData                       // payload with a SYN: the receiver may take it or not
	urgentData                    // the receiver may take a byte out of the stream
	outOfWindow                   // farther ahead, or behind, than what is remembered
	retransmission                // other bytes than those that were let through at the same place
	afterFin                      // more bytes, after the end of the stream
	notHTTP                       // a conversation with port 80 does not begin with a request
	anomalies
)

// anomalyKinds are their names, and what is said of them where the file says nothing. Where pass is false, passing
// would be a way past the signatures.
var anomalyKinds = [anomalies]struct {
	name    string
	verdict frame.Verdict
	pass    bool
}{
	malformed:      {"malformed", frame.VerdictDrop, false},
	fragment:       {"fragment", frame.VerdictDrop, false},
	badFlags:       {"flags", frame.VerdictDrop, true},
	synData:        {"syn-data", frame.VerdictDrop, false},
	urgentData:     {"urgent", frame.VerdictDrop, false},
	outOfWindow:    {"out-of-window", frame.VerdictDrop, false},
	retransmission: {"retransmission", frame.VerdictReset, false},
	afterFin:       {"after-fin", frame.VerdictDrop, true},
	notHTTP:        {"not-http", frame.VerdictPass, true},
}

var verdictNames = map[string]frame.Verdict{
	"pass": frame.VerdictPass, "drop": frame.VerdictDrop, "reset": frame.VerdictReset, "quarantine": frame.VerdictQuarantine,
}

// EICAR is the EICAR test file: a string that every scanner takes for a virus, and that does no harm. It stands here in
// hexadecimal, so that none finds it in this program.
func EICAR() []byte {
	b, err := hex.DecodeString("58354f2150254041505b345c505a58353428505e2937434329377d244549434152" +
		"2d5354414e444152442d414e544956495255532d544553542d46494c452124482b482a")
	if err != nil {
		panic(err) // it is right
	}
	return b
}
