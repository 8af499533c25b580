package labs

import (
	"embed"
	"io/fs"
	"slices"
	"strings"
)

// The built-in labs are in the binary, so that it works wherever it is copied to. A lab's folder begins with its number.
//
//go:embed [0-9]*
var builtinFiles embed.FS

// builtin is a lab in the binary.
type builtin struct {
	folder string // 03-fast-vs-slow
	files  fs.FS
}

// name is what people call it: fast-vs-slow.
func (b builtin) name() string {
	_, name, _ := strings.Cut(b.folder, "-")
	return name
}

// number is what its folder begins with: 03.
func (b builtin) number() string {
	number, _, _ := strings.Cut(b.folder, "-")
	return number
}

// builtins are the labs in the binary, in the order of their numbers.
func builtins() []builtin {
	entries, err := builtinFiles.ReadDir(".")
	if err != nil {
		panic(err) // the root of an embedded file system is always there
	}
	out := make([]builtin, 0, len(entries))
	for _, e := range entries {
		sub, err := fs.Sub(builtinFiles, e.Name())
		if err != nil {
			panic(err) // as above
		}
		out = append(out, builtin{folder: e.Name(), files: sub})
	}
	return out
}

// BuiltinNames are those of the labs in the binary, in the order of their numbers.
func BuiltinNames() []string {
	var names []string
	for _, b := range builtins() {
		names = append(names, b.name())
	}
	return names
}

// BuiltinName is the name of a built-in lab that is given by its name, its number, or both; empty where there is none.
func BuiltinName(ref string) string {
	if b := findBuiltin(ref); b != nil {
		return b.name()
	}
	return ""
}

// findBuiltin finds a built-in lab by its name, its number, or both.
func findBuiltin(ref string) *builtin {
	all := builtins()
	i := slices.IndexFunc(all, func(b builtin) bool { return ref == b.folder || ref == b.name() || ref == b.number() })
	if i < 0 {
		return nil
	}
	return &all[i]
}
