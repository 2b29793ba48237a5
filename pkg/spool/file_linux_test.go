package spool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// begin opens a file in both of the ways that file systems offer.
var begin = map[string]func(t *testing.T, path string) *File{
	"unnamed": func(t *testing.T, path string) *File {
		f, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		return f
	},
	"named": func(t *testing.T, path string) *File {
		f, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if f.temp == "" {
			f.File.Close()
			fd, err := f.createNamed()
			if err != nil {
				t.Fatal(err)
			}
			f.File = os.NewFile(uintptr(fd), path)
		}
		return f
	},
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestCommit(t *testing.T) {
	for way, begin := range begin {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "core")
			f := begin(t, path)
			if _, err := f.WriteAt([]byte("abc"), 2); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Error("an unfinished file bears the name")
			}
			if err := f.Commit(); err != nil {
				t.Fatal(err)
			}
			f.Discard()
			info, err := os.Lstat(path)
			if err != nil || info.Mode() != 0o600 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
			if b, _ := os.ReadFile(path); string(b) != "\x00\x00abc" || len(names(t, dir)) != 1 {
				t.Errorf("%q in %q", b, names(t, dir))
			}
			if err := f.Commit(); !errors.Is(err, fs.ErrClosed) {
				t.Error(err)
			}
		})
	}
}

func TestNeverReplaces(t *testing.T) {
	for way, begin := range begin {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "core")
			f := begin(t, path)
			if err := os.WriteFile(path, []byte("first"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := f.Commit(); !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
			if b, _ := os.ReadFile(path); string(b) != "first" || len(names(t, dir)) != 1 {
				t.Errorf("%q in %q", b, names(t, dir))
			}
		})
	}
}

func TestDiscard(t *testing.T) {
	for way, begin := range begin {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			f := begin(t, filepath.Join(dir, "core"))
			f.Discard()
			f.Discard()
			if left := names(t, dir); len(left) != 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"file": fs.ErrExist, "link": fs.ErrExist, "absent/x": fs.ErrNotExist, "file/x": unix.ENOTDIR, "": unix.EISDIR, "sub/": fs.ErrNotExist,
	} {
		if path == "" {
			path = "/."
		}
		if path == "sub/" {
			want = unix.EISDIR
		}
		if f, err := Create(dir + "/" + path); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v", path, f, err)
		}
	}
}

func TestTerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if Terminal(null) {
		t.Error("/dev/null is a terminal")
	}
	if pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err == nil {
		if !Terminal(pty) {
			t.Error("a pseudo-terminal is none")
		}
		pty.Close()
	}
}

func TestCommitBeside(t *testing.T) {
	for way, begin := range begin {
		dir := t.TempDir()
		core := filepath.Join(dir, "a.core")
		if err := os.WriteFile(core, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := begin(t, filepath.Join(dir, "a.stacks")).CommitBeside(core); err != nil || len(names(t, dir)) != 2 {
			t.Errorf("%s: %v, files %q", way, err, names(t, dir))
		}
		late := begin(t, filepath.Join(dir, "b.stacks"))
		if err := os.Remove(core); err != nil {
			t.Fatal(err)
		}
		if err := late.CommitBeside(core); !errors.Is(err, fs.ErrNotExist) || len(names(t, dir)) != 1 {
			t.Errorf("%s, core removed: %v, files %q", way, err, names(t, dir))
		}
	}
}
