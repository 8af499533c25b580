package labfile

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sluice/firewall/document"
)

// The bounds of parameters.
const (
	maxParams = 32
	maxPicks  = 64
)

// hole is where a text takes a parameter, ${port}, or a number of times it, ${tries*2}: an answer that is more than the
// number in the question.
var hole = regexp.MustCompile(`\$\{([a-z0-9-]*)(?:\*([0-9]{1,3}))?\}`)

// drawing is how a student's value of a parameter is drawn: the same student always gets the same value, another mostly
// another.
type drawing struct{ lab, student string }

// of draws a number below n for a parameter.
func (d drawing) of(param string, n uint64) uint64 {
	m := hmac.New(sha256.New, []byte(d.lab))
	m.Write([]byte(d.student + "\x00" + param))
	return binary.BigEndian.Uint64(m.Sum(nil)) % n
}

// readParams draws the parameters that a lab file declares, before the file is read for good: the holes may stand
// anywhere in it.
func (l *labReader) readParams(student string) map[string]string {
	whole := l.reader
	l.reader = newReader(l.File, hole.ReplaceAll(whole.text, []byte("0")))
	defer func() {
		if !l.Faulty() {
			l.reader = whole
		}
	}()
	var name, params *document.Node
	root := l.parse()
	if root == nil {
		return nil
	}
	for _, e := range l.Entries(root, "the lab") {
		switch e.Name {
		case "name":
			name = e.Value
		case "params":
			params = e.Value
		}
	}
	if l.Failed() || params == nil || name == nil {
		return nil // what is wrong with them is told when the file is read for good
	}
	d := drawing{l.word(name, "the lab's name"), student}
	return l.params(params, d)
}

func (l *labReader) params(n *document.Node, d drawing) map[string]string {
	list := l.Entries(n, "params")
	if len(list) > maxParams {
		l.fail(n, "%d params; at most %d are taken", len(list), maxParams)
	}
	out := map[string]string{}
	for _, e := range list {
		name := l.name(e.Key, "param")
		out[name] = l.param(e, d)
	}
	return out
}

func (l *labReader) param(e document.Entry, d drawing) (value string) {
	l.Fields(e.Value, "param "+e.Name, map[string]func(*document.Node){
		"random": func(v *document.Node) {
			lo, hi, _ := strings.Cut(l.word(v, "random"), "-")
			a, err := strconv.ParseUint(lo, 10, 32)
			b, err2 := strconv.ParseUint(hi, 10, 32)
			if err != nil || err2 != nil || a > b {
				l.fail(v, "random is %q; write two numbers like 10003-10090", lo+"-"+hi)
				return
			}
			value = strconv.FormatUint(a+d.of(e.Name, b-a+1), 10)
		},
		"pick": func(v *document.Node) {
			words := l.words(v, "pick", maxPicks)
			if !l.Failed() && len(words) == 0 {
				l.fail(v, "pick is empty; write what is picked from")
			}
			if !l.Failed() {
				value = words[d.of(e.Name, uint64(len(words)))]
			}
		},
	})
	if !l.Failed() && value == "" {
		l.fail(e.Key, "param %s says nothing; add random: 10003-10090 or pick: [one, two]", e.Name)
	}
	return value
}

// fill puts the parameters into a text. One that is not known is an error at its place.
func fill(file string, text []byte, params map[string]string) ([]byte, error) {
	r := newReader(file, text)
	filled := len(text)
	for _, m := range hole.FindAllSubmatchIndex(text, -1) {
		name := string(text[m[2]:m[3]])
		value, known := params[name]
		_, err := strconv.ParseUint(value, 10, 32)
		if filled += len(value); filled > 2*maxFile {
			r.FailAt(1, 1, "name params less often, or pick shorter words", "with its params filled in, it has more than %d bytes", 2*maxFile)
			break
		}
		if known && (m[4] < 0 || err == nil) || r.Full() {
			continue
		}
		before := text[:m[0]]
		line := bytes.Count(before, []byte("\n")) + 1
		col := m[0] - bytes.LastIndexByte(before, '\n')
		if known {
			r.FailAt(line, col, "leave out what follows its name", "param %s is %q, and only a number has multiples", name, value)
			continue
		}
		r.FailAt(line, col, r.Meant(name, "declare it in the lab's params", slices.Sorted(maps.Keys(params))), "there is no param %q", name)
	}
	if err := r.failure(); err != nil {
		return nil, err
	}
	return hole.ReplaceAllFunc(text, func(b []byte) []byte {
		name, times, multiple := strings.Cut(string(b[2:len(b)-1]), "*")
		if !multiple {
			return []byte(params[name])
		}
		n, _ := strconv.ParseUint(params[name], 10, 32) // both were looked at above
		k, _ := strconv.ParseUint(times, 10, 16)
		return strconv.AppendUint(nil, n*k, 10)
	}), nil
}

// Fill puts the student's parameters into a text of the lab, such as its README.
func (l *Lab) Fill(file string, text []byte) ([]byte, error) { return fill(file, text, l.Params) }
