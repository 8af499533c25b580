package guest

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"sluice/labs/guest/agent"
)

// module is what a kernel module says of itself (.modinfo).
type module struct {
	file    string // relative to the folder of the kernel's modules
	depends []string
	aliases []string
}

// addModules puts in the modules that the agent wants, what they depend on, and the two tables that modprobe reads.
// Debian's package has no tables: they are made when it is installed.
func (t *tree) addModules(k *kernel) error {
	files, err := moduleFiles(k.modules())
	if err != nil {
		return err
	}
	required, optional := agent.Modules()
	mods := map[string]*module{}
	for _, name := range required {
		if err := wantModule(mods, files, k.modules(), name); err != nil {
			return err
		}
	}
	for _, name := range optional {
		if files[name] == "" {
			continue // built in, or not in this kernel
		}
		if err := wantModule(mods, files, k.modules(), name); err != nil {
			return err
		}
	}
	return t.writeModules(filepath.Join("lib/modules", k.release), k.modules(), mods)
}

// moduleFiles finds every module by name.
func moduleFiles(dir string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(p) != ".ko" {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		files[agent.ModuleName(p)] = rel
		return err
	})
	return files, err
}

// wantModule adds a module and those it depends on.
func wantModule(mods map[string]*module, files map[string]string, dir, name string) error {
	if mods[name] != nil {
		return nil
	}
	file := files[name]
	if file == "" {
		return fmt.Errorf("the guests' kernel has no module %s", name)
	}
	m, err := readModule(dir, file)
	if err != nil {
		return fmt.Errorf("module %s: %w", name, err)
	}
	mods[name] = m
	for _, d := range m.depends {
		if err := wantModule(mods, files, dir, d); err != nil {
			return err
		}
	}
	return nil
}

func readModule(dir, file string) (*module, error) {
	f, err := elf.Open(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("%s has no .modinfo", file)
	}
	b, err := s.Data()
	if err != nil {
		return nil, err
	}
	m := &module{file: file}
	for entry := range strings.SplitSeq(string(b), "\x00") {
		key, value, _ := strings.Cut(entry, "=")
		switch {
		case key == "depends" && value != "":
			for d := range strings.SplitSeq(value, ",") {
				m.depends = append(m.depends, strings.ReplaceAll(d, "-", "_"))
			}
		case key == "alias":
			m.aliases = append(m.aliases, value)
		}
	}
	return m, nil
}

func (t *tree) writeModules(at, dir string, mods map[string]*module) error {
	var dep, alias strings.Builder
	names := make([]string, 0, len(mods))
	for n := range mods {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		m := mods[n]
		t.files[filepath.Join(at, m.file)] = treeFile{from: filepath.Join(dir, m.file), mode: 0o644}
		fmt.Fprintf(&dep, "%s:", m.file)
		for _, d := range deepDepends(mods, n) {
			fmt.Fprintf(&dep, " %s", mods[d].file)
		}
		dep.WriteByte('\n')
		for _, a := range m.aliases {
			fmt.Fprintf(&alias, "alias %s %s\n", a, n)
		}
	}
	t.files[filepath.Join(at, "modules.dep")] = treeFile{content: []byte(dep.String()), mode: 0o644}
	t.files[filepath.Join(at, "modules.alias")] = treeFile{content: []byte(alias.String()), mode: 0o644}
	return nil
}

// deepDepends are all that a module depends on, each before those that it depends on itself.
func deepDepends(mods map[string]*module, name string) []string {
	var after []string // each after those it depends on
	seen := map[string]bool{name: true}
	var visit func(string)
	visit = func(n string) {
		for _, d := range mods[n].depends {
			if !seen[d] {
				seen[d] = true
				visit(d)
				after = append(after, d)
			}
		}
	}
	visit(name)
	slices.Reverse(after)
	return after
}
