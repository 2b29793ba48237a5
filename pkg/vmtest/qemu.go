package vmtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// emulator is how a machine of an architecture is made.
type emulator struct {
	program string
	machine []string
	console string
	append  string // to the kernel's command line
}

var emulators = map[string]emulator{
	"amd64": {
		"qemu-system-x86_64", nil, "ttyS0",
		// Each of these would measure a processor that is none.
		"mitigations=off nokaslr no_timer_check tsc=reliable",
	},
	"arm64": {"qemu-system-aarch64", []string{"-M", "virt", "-cpu", "cortex-a57"}, "ttyAMA0", "mitigations=off nokaslr"},
}

// consoleFD is the descriptor of qemu that gets what the guest's console shows.
const consoleFD = 3

// command gives qemu's arguments. A machine has no network, no display, and
// talks QMP on standard input and output.
func (m *Machine) command(k *Kernel, initrd, token string) []string {
	e := emulators[m.Arch]
	line := "console=" + e.console + " panic=-1 quiet vigil.vm=" + token + " " + e.append
	for _, word := range m.Append {
		line += " " + word
	}
	if m.Disk {
		line += " memmap=16M!128M"
	}
	argv := append(limited(m.Limit, e.program), e.machine...)
	argv = append(argv,
		"-accel", "tcg", "-icount", "shift="+strconv.Itoa(m.Shift)+",sleep=off", "-m", strconv.Itoa(m.Memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-nic", "none",
		"-kernel", k.Image, "-initrd", initrd,
		"-append", line,
		"-chardev", "stdio,id=qmp,signal=off", "-mon", "chardev=qmp,mode=control",
		"-chardev", "file,id=console,path=/dev/fd/"+strconv.Itoa(consoleFD), "-serial", "chardev:console")
	if m.Resets == 0 {
		argv = append(argv, "-no-reboot")
	}
	return append(argv, m.Qemu...)
}

// limited makes a command run behind all others, and be killed after some seconds of
// processor time.
func limited(limit time.Duration, argv ...string) []string {
	const script = `ulimit -t "$1" && shift && exec nice -n 10 "$@"`
	return append([]string{"/bin/sh", "-c", script, "vm", strconv.Itoa(int(limit / time.Second))}, argv...)
}

// programArg is where command has qemu's name.
const programArg = 5

// Event is one that qemu tells by QMP (docs/interop/qmp-spec.txt), as SHUTDOWN,
// RESET or WATCHDOG. Its time is the host's, and no use to a test.
type Event struct {
	Name   string
	Reason string // of SHUTDOWN and RESET, as guest-reset
	Action string // of WATCHDOG
}

// run starts a machine and waits for its end. The result is never nil.
func run(ctx context.Context, argv []string, resets int) (*Result, error) {
	r := &Result{End: Lost}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 10 * time.Second
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	orders, err1 := cmd.StdinPipe()
	answers, err2 := cmd.StdoutPipe()
	console, guest, err3 := os.Pipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		return r, err
	}
	defer console.Close()
	cmd.ExtraFiles = []*os.File{guest} // consoleFD
	begun := time.Now()
	err := cmd.Start()
	_ = guest.Close()
	if err != nil {
		return r, err
	}
	boots := make(chan int, 1)
	go func() {
		// One boot more than is allowed is the proof of a reset too many.
		boots <- r.watch(console, resets+2, func() { _, _ = io.WriteString(orders, `{"execute":"quit"}`) })
	}()
	talk := r.listen(orders, answers)
	err = cmd.Wait()
	r.Host = time.Since(begun)
	r.judge(<-boots > resets+1)
	var exit *exec.ExitError
	switch killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL; {
	case ctx.Err() != nil:
		return r, fmt.Errorf("%s: no end after %s: %w", argv[programArg], r.Host.Round(time.Second), ctx.Err())
	case killed:
		return r, fmt.Errorf("%s: no end after %s of processor time", argv[programArg], exit.UserTime().Round(time.Second))
	}
	if err = errors.Join(err, talk); err != nil {
		return r, fmt.Errorf("%s: %w: %s", argv[programArg], err, bytes.TrimSpace(complaints.Bytes()))
	}
	return r, nil
}

// booted is what init.sh logs first.
const booted = "] booted\n"

// watch reads the console until the machine ends, and quits it at the boot of
// the number last. It gives the number of boots.
func (r *Result) watch(console io.Reader, last int, quit func()) (boots int) {
	var text strings.Builder
	for lines := bufio.NewReader(console); ; {
		line, err := lines.ReadString('\n')
		line = strings.ReplaceAll(line, "\r", "")
		text.WriteString(line)
		if strings.HasSuffix(line, booted) {
			if boots++; boots == last {
				quit()
			}
		}
		if err != nil {
			r.Console = text.String()
			return boots
		}
	}
}

// listen collects the events until qemu ends.
func (r *Result) listen(orders io.Writer, answers io.Reader) error {
	if _, err := io.WriteString(orders, `{"execute":"qmp_capabilities"}`); err != nil {
		return err
	}
	for decoder := json.NewDecoder(answers); ; {
		var message struct {
			Event string
			Data  struct{ Reason, Action string }
			Error struct{ Desc string }
		}
		err := decoder.Decode(&message)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("qmp: %w", err)
		case message.Error.Desc != "":
			return fmt.Errorf("qmp: %s", message.Error.Desc)
		case message.Event != "":
			r.Events = append(r.Events, Event{message.Event, message.Data.Reason, message.Data.Action})
		}
	}
}

// judge says how the machine ended.
func (r *Result) judge(again bool) {
	if again {
		r.End = Reset
		return
	}
	for _, e := range r.Events {
		switch {
		case e.Name != "SHUTDOWN":
		case e.Reason == "guest-shutdown":
			r.End = Off
		case e.Reason == "guest-reset":
			r.End = Reset
		}
	}
}
