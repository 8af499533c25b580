// Package labs keeps the lab folders, and embeds them. What a lab is says labs/labfile; labs/running makes it live.
package labs

import (
	"embed"
	"io/fs"
	"slices"
	"strings"
)

// The built-in labs are in the binary, so that it works wherever it is copied to. A lab's folder begins with its
// number.
//
//go:embed [0-9]*
var builtinFiles embed.FS

// Builtin is a lab in the binary.
type Builtin struct {
	Folder string // 03-fast-vs-slow
	Files  fs.FS
}

// Name is what people call it: fast-vs-slow.
func (b Builtin) Name() string {
	_, name, _ := strings.Cut(b.Folder, "-")
	return name
}

// Number is what its folder begins with: 03.
func (b Builtin) Number() string {
	number, _, _ := strings.Cut(b.Folder, "-")
	return number
}

// Builtins are the labs in the binary, in the order of their numbers.
func Builtins() []Builtin {
	entries, err := builtinFiles.ReadDir(".")
	if err != nil {
		panic(err) // the root of an embedded file system is always there
	}
	out := make([]Builtin, 0, len(entries))
	for _, e := range entries {
		sub, err := fs.Sub(builtinFiles, e.Name())
		if err != nil {
			panic(err) // as above
		}
		out = append(out, Builtin{Folder: e.Name(), Files: sub})
	}
	return out
}

// BuiltinNames are those of the labs in the binary, in the order of their numbers.
func BuiltinNames() []string {
	var names []string
	for _, b := range Builtins() {
		names = append(names, b.Name())
	}
	return names
}

// BuiltinName is the name of a built-in lab that is given by its name, its number, or both; empty where there is none.
func BuiltinName(ref string) string {
	if b := FindBuiltin(ref); b != nil {
		return b.Name()
	}
	return ""
}

// FindBuiltin finds a built-in lab by its name, its number, or both.
func FindBuiltin(ref string) *Builtin {
	all := Builtins()
	i := slices.IndexFunc(all, func(b Builtin) bool { return ref == b.Folder || ref == b.Name() || ref == b.Number() })
	if i < 0 {
		return nil
	}
	return &all[i]
}
