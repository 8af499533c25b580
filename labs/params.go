package labs

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// The bounds of parameters.
const (
	maxParams = 32
	maxPicks  = 64
)

// hole is where a text takes a parameter: ${port}.
var hole = regexp.MustCompile(`\$\{([a-z0-9-]*)\}`)

// drawing is how a student's value of a parameter is drawn: the same student always gets the same value, another mostly another.
type drawing struct{ lab, student string }

// of draws a number below n for a parameter.
func (d drawing) of(param string, n uint64) uint64 {
	m := hmac.New(sha256.New, []byte(d.lab))
	m.Write([]byte(d.student + "\x00" + param))
	return binary.BigEndian.Uint64(m.Sum(nil)) % n
}

// readParams draws the parameters that a lab file declares, before the file is read for good: the holes may stand anywhere in it.
func (l *labReader) readParams(student string) map[string]string {
	whole := l.text
	defer func() { l.text = whole }()
	l.text = hole.ReplaceAll(whole, []byte("0"))
	var name, params ast.Node
	root := l.parse()
	if root == nil {
		return nil
	}
	for _, e := range l.entries(root, "the lab") {
		switch e.name {
		case "name":
			name = e.value
		case "params":
			params = e.value
		}
	}
	if l.err != nil || params == nil || name == nil {
		return nil // what is wrong with them is told when the file is read for good
	}
	d := drawing{l.word(name, "the lab's name"), student}
	return l.params(params, d)
}

func (l *labReader) params(n ast.Node, d drawing) map[string]string {
	list := l.entries(n, "params")
	if len(list) > maxParams {
		l.fail(n, "%d params; at most %d are taken", len(list), maxParams)
	}
	out := map[string]string{}
	for _, e := range list {
		name := l.name(e.key, "param")
		l.once(e.key, out[name] != "", "param "+name)
		out[name] = l.param(e, d)
	}
	return out
}

func (l *labReader) param(e entry, d drawing) (value string) {
	l.fields(e.value, "param "+e.name, map[string]func(ast.Node){
		"random": func(v ast.Node) {
			lo, hi, _ := strings.Cut(l.word(v, "random"), "-")
			a, err := strconv.ParseUint(lo, 10, 32)
			b, err2 := strconv.ParseUint(hi, 10, 32)
			if err != nil || err2 != nil || a > b {
				l.fail(v, "random is %q; write two numbers like 10003-10090", lo+"-"+hi)
				return
			}
			value = strconv.FormatUint(a+d.of(e.name, b-a+1), 10)
		},
		"pick": func(v ast.Node) {
			words := l.words(v, "pick", maxPicks)
			if l.err == nil && len(words) == 0 {
				l.fail(v, "pick is empty; write what is picked from")
			}
			if l.err == nil {
				value = words[d.of(e.name, uint64(len(words)))]
			}
		},
	})
	if l.err == nil && value == "" {
		l.fail(e.key, "param %s says nothing; add random: 10003-10090 or pick: [one, two]", e.name)
	}
	return value
}

// fill puts the parameters into a text. One that is not known is an error at its place.
func fill(file string, text []byte, params map[string]string) ([]byte, error) {
	for _, m := range hole.FindAllSubmatchIndex(text, -1) {
		name := string(text[m[2]:m[3]])
		if _, ok := params[name]; !ok {
			before := text[:m[0]]
			line := bytes.Count(before, []byte("\n")) + 1
			col := m[0] - bytes.LastIndexByte(before, '\n')
			return nil, errorAt(file, text, line, col, "there is no param %q; declare it in the lab's params", name)
		}
	}
	return hole.ReplaceAllFunc(text, func(b []byte) []byte { return []byte(params[string(b[2:len(b)-1])]) }), nil
}

// Fill puts the student's parameters into a text of the lab, such as its README.
func (l *Lab) Fill(file string, text []byte) ([]byte, error) { return fill(file, text, l.Params) }
