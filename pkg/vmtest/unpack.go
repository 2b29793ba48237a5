package vmtest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kept are the parts of the packages that a test could want: of 400 MB of
// modules those without networks, displays, sound and most hardware.
var kept = []string{
	"bin/busybox", "usr/bin/busybox", "boot/vmlinuz-", "@/modules.builtin", "@/kernel/arch/", "@/kernel/block/",
	"@/kernel/crypto/", "@/kernel/lib/", "@/kernel/mm/", "@/kernel/fs/", "@/kernel/net/9p/", "@/kernel/drivers/block/",
	"@/kernel/drivers/char/", "@/kernel/drivers/i2c/", "@/kernel/drivers/mfd/", "@/kernel/drivers/nvdimm/", "@/kernel/drivers/platform/",
	"@/kernel/drivers/acpi/", "@/kernel/drivers/virtio/", "@/kernel/drivers/watchdog/",
}

func keep(name string) bool {
	if rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "usr/"), "lib/modules/"); ok {
		if _, rest, ok = strings.Cut(rest, "/"); ok {
			name = "@/" + rest
		}
	}
	for _, k := range kept {
		if strings.HasPrefix(name, k) {
			return true
		}
	}
	return false
}

// unpack writes what is kept of a package into dir.
func unpack(ctx context.Context, deb, dir string, keep func(string) bool) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	stream, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = untar(tar.NewReader(stream), dir, keep)
	_, drained := io.Copy(io.Discard, stream)
	return errors.Join(err, drained, cmd.Wait())
}

func untar(r *tar.Reader, dir string, keep func(string) bool) error {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Clean(h.Name)
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(name) || !keep(name) {
			continue
		}
		path := filepath.Join(dir, strings.TrimPrefix(name, "usr/"))
		if strings.HasPrefix(name, "boot/") {
			path = filepath.Join(dir, "vmlinuz")
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o755)); err != nil {
			return err
		}
	}
}

// bootable makes of the kernel's file what qemu boots fastest.
func bootable(ctx context.Context, dir, arch string) error {
	packed, image := filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "image")
	if arch != "amd64" {
		return os.Rename(packed, image)
	}
	// The file for amd64 would unpack itself, which takes longer in an emulator
	// than all the rest of the boot. It holds the kernel proper, an ELF file that
	// qemu starts directly (Documentation/x86/boot, "PVH"), as an xz stream.
	text, err := os.ReadFile(packed)
	if err != nil {
		return err
	}
	at := bytes.Index(text, []byte("\xfd7zXZ\x00"))
	if at < 0 {
		return fmt.Errorf("%s: holds no xz stream", packed)
	}
	cmd := exec.CommandContext(ctx, "xz", "-dc", "--single-stream")
	cmd.Stdin = bytes.NewReader(text[at:])
	// What comes after the stream makes xz complain when all is out.
	kernel, err := cmd.Output()
	if !bytes.HasPrefix(kernel, []byte("\x7fELF")) {
		return fmt.Errorf("%s: xz: %w", packed, errors.Join(err, errors.New("no ELF file came out")))
	}
	return errors.Join(os.WriteFile(image, kernel, 0o644), os.Remove(packed))
}
