package main

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// measure looks at memory, descriptors and files every ten seconds.
func (w *world) measure() {
	for w.on() {
		w.sample()
		if b, err := os.ReadFile("/proc/stat"); err == nil {
			say(strings.SplitN(string(b), "\n", 2)[0])
		}
		time.Sleep(10 * time.Second)
	}
}

// size gives the memory of a process in kB and its number of descriptors.
func size(pid int) (kb, fds int, ok bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(dir + "/statm")
	fields := strings.Fields(string(b))
	if err != nil || len(fields) < 2 {
		return 0, 0, false
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil || pages == 0 {
		return 0, 0, false // it has ended
	}
	open, err := os.ReadDir(dir + "/fd")
	return pages * os.Getpagesize() / 1024, len(open), err == nil
}

func (w *world) sample() {
	w.mu.Lock()
	var all []*process
	for _, p := range w.running {
		if p.tool != "service" {
			all = append(all, p)
		}
	}
	w.mu.Unlock()
	for _, p := range all {
		if kb, fds, ok := size(p.pid); ok {
			w.truth.put("sample", "tool", p.tool, "id", p.id, "pid", p.pid, "rss_kb", kb, "fds", fds)
		}
	}
	for _, top := range []string{run, spool} {
		entries, err := os.ReadDir(top)
		check(err)
		for _, e := range entries {
			if e.IsDir() {
				count, bytes := weigh(filepath.Join(top, e.Name()))
				w.truth.put("files", "dir", filepath.Join(top, e.Name()), "count", count, "bytes", bytes)
			}
		}
	}
}

func weigh(dir string) (count int, bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it went meanwhile
		}
		count++
		if info, err := d.Info(); err == nil && d.Type().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	return count, bytes
}

// lag tells when this very program was not run for half a second.
func (w *world) lag() {
	for last := boottime(); w.on(); {
		time.Sleep(300 * time.Millisecond)
		now := boottime()
		if now-last > 800 {
			w.truth.put("lag", "from", last, "long_ms", now-last)
		}
		last = now
	}
}

// inventory tells what is there at the end.
func (w *world) inventory() {
	for name, kind := range map[string]string{spool + "/events": "kept", "/run/hooks": "hook", "/run/complaints": "complaint", "/disk/ledger": "ledger"} {
		f, err := os.Open(name)
		check(err)
		w.truth.lines(kind, f)
		_ = f.Close()
	}
	for _, dir := range []string{run + "/hb", run + "/hold", run + "/ctl", spool + "/core", spool + "/dump"} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				info, _ := d.Info()
				w.truth.put("file", "name", path, "bytes", info.Size())
			}
			return nil
		})
	}
	incidents, err := os.ReadDir(spool + "/incident")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		check(err)
	}
	for _, e := range incidents {
		dir := filepath.Join(spool, "incident", e.Name())
		files := map[string]int64{}
		entries, err := os.ReadDir(dir)
		check(err)
		for _, f := range entries {
			if info, err := f.Info(); err == nil {
				files[f.Name()] = info.Size()
			}
		}
		summary, _ := os.ReadFile(dir + "/summary.txt")
		dump, _ := os.ReadFile(dir + "/dump.json")
		w.truth.put("incident", "name", e.Name(), "files", files, "summary", string(summary), "dump", string(dump[:min(len(dump), 400)]))
	}
	w.processes()
}

// processes tells what runs that was not started here.
func (w *world) processes() {
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	check(err)
	for _, name := range names {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		w.mu.Lock()
		ours := w.running[pid] != nil || pid == os.Getpid()
		w.mu.Unlock()
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		line, _ := bufio.NewReader(f).ReadString(0)
		_ = f.Close()
		if line != "" && !ours {
			w.truth.put("runs", "pid", pid, "argv", strings.TrimRight(line, "\x00"))
		}
	}
}
