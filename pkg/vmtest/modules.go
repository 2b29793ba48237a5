package vmtest

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// diskModules are what Machine.Disk needs. Of the file systems that busybox can
// make it is the one whose fsync(2) keeps its word: ext4 without a journal, which
// is what ext2 is here, may lose the new length of a file (Linux 6.1).
var diskModules = []string{"nd_e820", "nd_pmem", "nls_cp437", "nls_ascii", "vfat"}

// module is a file of the kernel's package.
type module struct {
	name    string
	path    string
	depends []string // all that has to be loaded before, in that order
}

// dep is its line in modules.dep, where the first to be loaded comes last.
func (m *module) dep() string {
	line := m.name + ".ko:"
	for _, d := range slices.Backward(m.depends) {
		line += " " + d + ".ko"
	}
	return line + "\n"
}

// needs adds a module, and what that one depends on, to what m depends on.
func (m *module) needs(below *module) {
	for _, name := range append(slices.Clone(below.depends), below.name) {
		if !slices.Contains(m.depends, name) {
			m.depends = append(m.depends, name)
		}
	}
}

// closure gives the named modules and all they depend on, each after what it
// depends on. A module that is built into the kernel needs no file.
func (k *Kernel) closure(names []string) (modules []module, err error) {
	found := map[string]string{}
	err = filepath.WalkDir(k.Modules, func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			found[plain(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	seen := map[string]*module{}
	var visit func(name string) error
	visit = func(name string) error {
		if name = plain(name); seen[name] != nil || k.builtin[name] {
			return nil
		}
		m := &module{name: name, path: found[name]}
		seen[name] = m
		if m.path == "" {
			return fmt.Errorf("%s: no module %s", k.Modules, name)
		}
		info, err := modinfo(m.path)
		if err != nil {
			return err
		}
		for _, d := range strings.FieldsFunc(info["depends"], func(r rune) bool { return r == ',' }) {
			if err := visit(d); err != nil {
				return err
			}
			if below := seen[plain(d)]; below != nil {
				m.needs(below)
			}
		}
		modules = append(modules, *m)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return modules, nil
}

// plain gives the one spelling of a module's name: file names may have hyphens
// where the kernel has underscores.
func plain(name string) string { return strings.ReplaceAll(name, "-", "_") }

// modinfo reads a module's own description.
func modinfo(path string) (map[string]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("%s: no section .modinfo", path)
	}
	text, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	info := map[string]string{}
	for line := range strings.SplitSeq(string(text), "\x00") {
		if key, value, ok := strings.Cut(line, "="); ok {
			info[key] = value
		}
	}
	return info, nil
}
