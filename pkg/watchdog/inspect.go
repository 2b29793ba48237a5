// Package watchdog keeps a hardware watchdog of Linux from resetting the
// machine for as long as conditions hold, and tells what it really did.
//
// The device /dev/watchdog goes through github.com/mdlayher/watchdog: open,
// identity, ping, timeout, magic close. What that package does not do is done
// by ioctls on the same descriptor, and other nodes by an open of our own.
//
// Three rules. Nothing but a character device that sysfs knows for a watchdog is
// ever opened. "Disarmed" is only said when the kernel said it afterwards. What
// is not understood (a panic, an unknown fault) leaves the device armed: then
// the machine resets, which is what the watchdog is for.
//
// Sources: Documentation/watchdog/watchdog-api.rst and
// drivers/watchdog/watchdog_dev.c of Linux 6.1.
package watchdog

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"vigil/pkg/cli"
	"vigil/pkg/fmt"
)

// DefaultPath is the node of the machine's first watchdog.
const DefaultPath = "/dev/watchdog"

// number is that of a device node.
type number struct{ major, minor uint32 }

func (n number) String() string {
	return strconv.FormatUint(uint64(n.major), 10) + ":" + strconv.FormatUint(uint64(n.minor), 10)
}

func parseNumber(s string) (number, bool) {
	a, b, _ := strings.Cut(s, ":")
	major, err := strconv.ParseUint(a, 10, 32)
	minor, err2 := strconv.ParseUint(b, 10, 32)
	return number{uint32(major), uint32(minor)}, err == nil && err2 == nil
}

// misc is /dev/watchdog wherever it lies: the first device of the watchdog core
// or a driver older than that (include/linux/miscdevice.h, WATCHDOG_MINOR).
var misc = number{10, 130}

// attributes are the files of a watchdog in sysfs, in the order in which a
// person wants to read them (Documentation/ABI/testing/sysfs-class-watchdog).
// Drivers older than the watchdog core have none, and some kernels only some.
var attributes = [...]string{
	"identity", "state", "timeout", "timeleft", "pretimeout", "pretimeout_governor",
	"min_timeout", "max_timeout", "nowayout", "options", "status", "bootstatus",
}

// Info is what can be known of a watchdog without opening it.
type Info struct {
	Path   string
	number number
	sysfs  string // its directory; "" when the kernel shows none
	name   string // watchdogN in sysfs, or ""
	attr   map[string]string
}

// Inspect looks at the device node node, following symbolic links, and never
// opens it. A node of the wrong kind is a *cli.UsageError; a missing node, or
// one without a driver behind it, matches fs.ErrNotExist.
func Inspect(node string) (Info, error) {
	n, err := nodeNumber(node)
	if err != nil {
		return Info{}, err
	}
	info := Info{Path: node, number: n}
	return info, info.find("/sys")
}

// find looks the device up in the sysfs mounted at root. Without a sysfs nothing
// can be known, which is no fault: a rescue system may have none.
func (i *Info) find(root string) error {
	char := root + "/dev/char"
	if !exists(char) {
		return nil
	}
	target, err := readLink(char + "/" + i.number.String())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: no driver behind device %s: %w", i.Path, i.number, fs.ErrNotExist)
	case err != nil:
		return fmt.Errorf("%s: look up device %s: %w", i.Path, i.number, err)
	case i.number == misc:
		i.name = "watchdog0"
	case path.Base(path.Dir(target)) == "watchdog":
		i.name = path.Base(target)
	default:
		return cli.Usagef("%s: is no watchdog: device %s is %s", i.Path, i.number, path.Base(target))
	}
	dir := root + "/class/watchdog/" + i.name
	if !exists(dir) {
		i.name = ""
		return nil
	}
	i.sysfs = dir
	i.refresh()
	return nil
}

// refresh reads the attributes as they are now. One that cannot be read
// (timeleft, where the driver cannot tell) is left out.
func (i *Info) refresh() {
	i.attr = map[string]string{}
	if i.sysfs == "" {
		return
	}
	for _, name := range attributes {
		if value, err := readSmall(i.sysfs + "/" + name); err == nil {
			i.attr[name] = value
		}
	}
}

// forget drops what sysfs said: it spoke of another device.
func (i *Info) forget() { i.sysfs, i.name, i.attr = "", "", nil }

// checkTimeout refuses a timeout outside of what the driver says it takes. Zero
// bounds mean that it says nothing.
func (i *Info) checkTimeout(t time.Duration) error {
	least, most := i.seconds("min_timeout"), i.seconds("max_timeout")
	if t < least || most > 0 && t > most {
		return cli.Usagef("-timeout %s: %s takes %s to %s", t, i.Path, least, most)
	}
	return nil
}

// checkPretimeout refuses one where sysfs shows that there is none: the attribute is
// there only if the driver or the watchdog core warns.
func (i *Info) checkPretimeout(t time.Duration) error {
	if _, ok := i.attr["pretimeout"]; !ok && i.attr["timeout"] != "" {
		return cli.Usagef("-pretimeout %s: %s (%s) has none", t, i.Path, i.attr["identity"])
	}
	return nil
}

// cardReset is WDIOF_CARDRESET (include/uapi/linux/watchdog.h).
const cardReset = 0x20

// cardReset tells whether the driver says that the watchdog has caused the last reset.
func (i *Info) cardReset() bool { return i.bits("bootstatus")&cardReset != 0 }

// reports tells whether the driver is known to say so whenever it is so. Kernels
// before 6.4 do not show what their drivers can.
func (i *Info) reports() bool { return i.bits("options")&cardReset != 0 && i.attr["bootstatus"] != "" }

func (i *Info) bits(attr string) uint64 {
	n, err := strconv.ParseUint(i.attr[attr], 0, 32)
	if err != nil {
		return 0
	}
	return n
}

func (i *Info) seconds(attr string) time.Duration {
	n, err := strconv.ParseUint(i.attr[attr], 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// numbers are the nodes that lead to the same hardware.
func (i *Info) numbers() []number {
	all := []number{i.number}
	if i.sysfs == "" {
		return all
	}
	if text, err := readSmall(i.sysfs + "/dev"); err == nil {
		if n, ok := parseNumber(text); ok {
			all = append(all, n)
		}
	}
	if i.name == "watchdog0" {
		all = append(all, misc)
	}
	return all
}

// bootFlags names the bits of bootstatus (include/uapi/linux/watchdog.h).
var bootFlags = [...]string{"OVERHEAT", "FANFAULT", "EXTERN1", "EXTERN2", "POWERUNDER", "CARDRESET", "POWEROVER"}

// bootWords spells bootstatus out. CARDRESET means that the watchdog has
// caused the last reset.
func bootWords(status string) string {
	n, err := strconv.ParseUint(status, 10, 32)
	if err != nil || n == 0 {
		return status
	}
	var words []string
	for bit, word := range bootFlags {
		if n&(1<<bit) != 0 {
			words = append(words, word)
		}
	}
	return status + " (" + strings.Join(words, " ") + ")"
}

// Text tells all of it in lines "key: value", and who holds the device.
func (i *Info) Text() []byte { return i.text("/proc") }

func (i *Info) text(proc string) []byte {
	var b []byte
	line := func(key, value string) { b = append(b, key+": "+cli.Escape(value)+"\n"...) }
	line("device", i.Path)
	line("number", i.number.String())
	if i.sysfs == "" {
		line("sysfs", "none: the driver tells nothing without being opened")
	}
	for _, name := range attributes {
		switch value, ok := i.attr[name]; {
		case !ok || value == "":
		case name == "bootstatus":
			line(name, bootWords(value))
		case slices.Contains([]string{"timeout", "timeleft", "pretimeout", "min_timeout", "max_timeout"}, name):
			line(name, value+" s")
		default:
			line(name, value)
		}
	}
	holders := i.holders(proc)
	for _, h := range holders {
		line("holder", h.String())
	}
	switch {
	case len(holders) > 0:
	case os.Geteuid() == 0:
		line("holder", "none")
	default:
		line("holder", "none seen; only root sees all processes")
	}
	return b
}
