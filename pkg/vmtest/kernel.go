package vmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fetchLimit bounds everything that gets a kernel; the packages have 70 MB.
const fetchLimit = 10 * time.Minute

// Kernel is what Fetch keeps of Debian's packages.
type Kernel struct {
	Arch    string
	Image   string // what qemu boots: for amd64 the ELF file, for arm64 the Image
	Busybox string // a static busybox
	Modules string // the directory of kernel modules
	Release string // as uname -r has it

	builtin map[string]bool // modules that are part of Image
}

var fetched sync.Map // arch → func() (*Kernel, error)

// Fetch gives the kernel for an architecture. What is not in the cache is
// downloaded. An error tells what is missing; it is the same for the rest of
// the process.
func Fetch(arch string) (*Kernel, error) {
	once, _ := fetched.LoadOrStore(arch, sync.OnceValues(func() (*Kernel, error) {
		k, err := fetch(arch)
		if err != nil {
			err = fmt.Errorf("a kernel for %s: %w", arch, err)
		}
		return k, err
	}))
	return once.(func() (*Kernel, error))()
}

// Probe tells what keeps machines of an architecture from being booted.
func Probe(arch string) error {
	e, ok := emulators[arch]
	if !ok {
		return fmt.Errorf("no emulator is known for %s", arch)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, e.program, "--version").CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w%s", e.program, err, out)
	}
	_, err := Fetch(arch)
	return err
}

// cacheDir is shared by everything of a user: XDG_CACHE_HOME or ~/.cache.
func cacheDir() (string, error) {
	top, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(top, "vigil", "vm")
	return dir, os.MkdirAll(dir, 0o755)
}

func fetch(arch string) (*Kernel, error) {
	dir, err := cached(arch, arch, download{
		choose: func(run apt) ([]string, error) { return newestKernel(run, "linux-image-"+arch) },
		keep:   keep,
		finish: func(ctx context.Context, dir string) error { return bootable(ctx, dir, arch) },
	})
	if err != nil {
		return nil, err
	}
	return open(arch, dir)
}

// Debian gives a directory with all regular files of Debian packages, unpacked and
// cached as the kernel is; usr/ is left out of their paths. What the programs in
// it need of a C library comes from the package libc6.
func Debian(arch string, names ...string) (string, error) {
	return cached(arch+"-"+strings.Join(names, "-"), arch, download{
		choose: func(apt) ([]string, error) { return names, nil },
		keep:   func(string) bool { return true },
		finish: func(context.Context, string) error { return nil },
	})
}

// cached gives a directory of the cache, and makes it the first time.
func cached(name, arch string, d download) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	// Other test processes want the same: the first one gets it for all.
	lock, err := os.OpenFile(filepath.Join(cache, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, d.get(cache, arch, dir)
}

// open reads what a kernel's directory holds.
func open(arch, dir string) (*Kernel, error) {
	all, err := filepath.Glob(filepath.Join(dir, "lib/modules/*"))
	if err != nil || len(all) != 1 {
		return nil, fmt.Errorf("%s: %d kernels: remove it", dir, len(all))
	}
	k := &Kernel{
		Arch: arch, Image: filepath.Join(dir, "image"), Busybox: filepath.Join(dir, "bin/busybox"),
		Modules: all[0], Release: filepath.Base(all[0]), builtin: map[string]bool{},
	}
	list, err := os.ReadFile(filepath.Join(k.Modules, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(list)) {
		k.builtin[plain(strings.TrimSuffix(filepath.Base(strings.TrimSpace(line)), ".ko"))] = true
	}
	return k, nil
}

// download is how a directory of the cache is made.
type download struct {
	choose func(apt) ([]string, error)                 // the packages
	keep   func(path string) bool                      // of their files
	finish func(ctx context.Context, dir string) error // when all is unpacked
}

// get makes dir, whole or not at all.
func (d *download) get(cache, arch, dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), fetchLimit)
	defer cancel()
	tmp, err := os.MkdirTemp(cache, arch+".new.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	debs, err := packages(ctx, tmp, arch, d.choose)
	if err != nil {
		return err
	}
	ready := filepath.Join(tmp, "ready")
	for _, deb := range debs {
		if err := unpack(ctx, deb, ready, d.keep); err != nil {
			return err
		}
	}
	if err := d.finish(ctx, ready); err != nil {
		return err
	}
	return os.Rename(ready, dir)
}

// An apt runs apt-get or apt-cache, and gives what it prints.
type apt func(program string, args ...string) (string, error)

// packages downloads packages. It asks with lists and a status of its own, so
// that the architecture need not be one of the machine's, nor its lists be there,
// and nothing of the machine changes.
func packages(ctx context.Context, tmp, arch string, choose func(apt) ([]string, error)) ([]string, error) {
	lists, archives := filepath.Join(tmp, "lists/partial"), filepath.Join(tmp, "cache/archives/partial")
	if err := errors.Join(os.MkdirAll(lists, 0o755), os.MkdirAll(archives, 0o755)); err != nil {
		return nil, err
	}
	run := func(program string, args ...string) (string, error) {
		options := []string{
			"-q", "-o", "Dir::State::Lists=" + filepath.Dir(lists), "-o", "Dir::Cache=" + filepath.Join(tmp, "cache"),
			"-o", "Dir::State::status=/dev/null", "-o", "APT::Architecture=" + arch, "-o", "APT::Architectures=" + arch,
			"-o", "APT::Sandbox::User=", "-o", "Acquire::Languages=none", "-o", "Debug::NoLocking=1",
			"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		}
		return command(ctx, tmp, program, append(options, args...)...)
	}
	if _, err := run("apt-get", "update"); err != nil {
		return nil, err
	}
	names, err := choose(run)
	if err != nil {
		return nil, err
	}
	if _, err := run("apt-get", append([]string{"download"}, names...)...); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(tmp, "*.deb"))
}

// newestKernel names the kernel that a package without content, such as
// linux-image-amd64, brings, and a busybox for it.
func newestKernel(run apt, meta string) ([]string, error) {
	text, err := run("apt-cache", "depends", meta)
	if err != nil {
		return nil, err
	}
	_, name, ok := strings.Cut(text, "Depends: ")
	if !ok {
		return nil, fmt.Errorf("%s: depends on no kernel", meta)
	}
	name, _, _ = strings.Cut(name, "\n")
	return []string{strings.TrimSpace(name), "busybox-static"}, nil
}

// command runs a program in dir, with messages that are not translated, and
// gives what it printed.
func command(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var out, complaints strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		last := strings.TrimSpace(complaints.String())
		return "", fmt.Errorf("%s %s: %w: %s", program, args[len(args)-1], err, last[strings.LastIndexByte(last, '\n')+1:])
	}
	return out.String(), nil
}
