package watchdog

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/cli"
	"vigil/pkg/fmt"
)

// integer passes v through an ioctl on an int and gives what came back.
func (k kernel) integer(fd int, request uint, v int32) (int32, error) {
	arg := binary.NativeEndian.AppendUint32(nil, uint32(v))
	err := k.ioctl(fd, request, arg)
	return int32(binary.NativeEndian.Uint32(arg)), err
}

// SetTimeout asks for t, whole seconds, and gives what the device really does.
// A value that it does not take is a *cli.UsageError; a device whose timeout is
// fixed keeps it.
func (d *Device) SetTimeout(t time.Duration) (time.Duration, error) {
	_, err := d.kernel.integer(d.fd, unix.WDIOC_SETTIMEOUT, int32(t/time.Second))
	switch {
	case errors.Is(err, unix.EINVAL):
		return 0, cli.Usagef("-timeout %s: %s (%s) does not take it", t, d.Info.Path, d.Identity)
	case err != nil && !unsupported(err):
		return 0, fmt.Errorf("%s: set timeout: %w", d.Info.Path, err)
	}
	real, err := d.handle.Timeout()
	if err == nil && real < time.Second {
		err = fmt.Errorf("%s is no timeout", real)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: read timeout: %w", d.Info.Path, err)
	}
	return real, nil
}

// unsupported tells whether the driver does not know an ioctl: the watchdog core
// and older drivers have different words for it.
func unsupported(err error) bool {
	return errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP)
}

// SetPretimeout asks for a warning t, whole seconds, before the reset, and gives what
// the device really does. Set it after the timeout, which some drivers clear it
// by. A driver that has none, or does not take t, is a *cli.UsageError.
// GETSUPPORT does not tell of the one that the watchdog core makes by a timer.
func (d *Device) SetPretimeout(t time.Duration) (time.Duration, error) {
	_, err := d.kernel.integer(d.fd, unix.WDIOC_SETPRETIMEOUT, int32(t/time.Second))
	switch {
	case unsupported(err):
		return 0, cli.Usagef("-pretimeout %s: %s (%s) has none", t, d.Info.Path, d.Identity)
	case errors.Is(err, unix.EINVAL):
		return 0, cli.Usagef("-pretimeout %s: %s (%s) does not take it", t, d.Info.Path, d.Identity)
	case err != nil:
		return 0, fmt.Errorf("%s: set pretimeout: %w", d.Info.Path, err)
	}
	real, err := d.Pretimeout()
	if err != nil {
		return 0, fmt.Errorf("%s: read pretimeout: %w", d.Info.Path, err)
	}
	return real, nil
}

// Pretimeout is how long before the reset the device warns; 0 for never.
func (d *Device) Pretimeout() (time.Duration, error) { return d.seconds(unix.WDIOC_GETPRETIMEOUT) }

// Timeleft is the time until the reset, if no ping comes. Most drivers cannot tell.
func (d *Device) Timeleft() (time.Duration, error) { return d.seconds(unix.WDIOC_GETTIMELEFT) }

func (d *Device) seconds(request uint) (time.Duration, error) {
	n, err := d.kernel.integer(d.fd, request, 0)
	return time.Duration(n) * time.Second, err
}

// BootStatus has the bits of bootFlags, as the driver found them when it was
// loaded; 0 also from a driver that cannot tell.
func (d *Device) BootStatus() uint32 {
	n, err := d.kernel.integer(d.fd, unix.WDIOC_GETBOOTSTATUS, 0)
	if err != nil {
		return 0
	}
	return uint32(n)
}
