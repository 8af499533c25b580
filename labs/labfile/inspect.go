package labfile

import (
	"io/fs"
	"strconv"
	"strings"

	"sluice/firewall/document"
	inspector "sluice/firewall/inspect"
)

// maxBypass bounds bypass-after: a flow that is looked at for longer may as well be looked at to its end.
const maxBypass = 1 << 30

// inspect reads what the appliance looks for.
func (l *labReader) inspect(n *document.Node) {
	l.Fields(n, "inspect", map[string]func(*document.Node){
		"signatures":   func(v *document.Node) { l.signatures = v },
		"bypass-after": func(v *document.Node) { l.lab.Inspect.BypassAfter = l.size(v, "bypass-after", maxBypass) },
	})
}

// size reads a number of bytes, as 4096, 64KiB or 1MiB.
func (r *reader) size(n *document.Node, what string, most int) int {
	w := r.word(n, what)
	digits, unit := w, 1
	for suffix, u := range map[string]int{"KiB": 1 << 10, "MiB": 1 << 20} {
		if d, has := strings.CutSuffix(w, suffix); has {
			digits, unit = d, u
		}
	}
	v, err := strconv.Atoi(digits)
	if !r.Failed() && (err != nil || v < 0 || v > most/unit) {
		r.fail(n, "%s is %q; write a number of bytes up to %dMiB, such as 4096, 64KiB or 1MiB", what, w, most>>20)
		return 0
	}
	return v * unit
}

// readSignatures reads the signature file, which is sent to the appliance as it is.
func (l *labReader) readSignatures() {
	if l.signatures == nil {
		return
	}
	name := l.word(l.signatures, "the signature file")
	if !l.Failed() && !fs.ValidPath(name) {
		l.fail(l.signatures, "the signature file %q lies outside of the lab's folder; give a file in it", name)
	}
	if l.Failed() {
		return
	}
	text, err := ReadBounded(l.lab.Files, name)
	if err != nil {
		l.fail(l.signatures, "signature file %s cannot be read: %v", name, err)
		return
	}
	text, err = fill(l.beside(name), text, l.lab.Params)
	if err == nil {
		_, err = inspector.Load(l.beside(name), text)
	}
	l.joinIn(err)
	l.lab.Inspect.Signatures = text
}
