// Package sdnotify tells a supervisor of systemd's kind how a service is: one
// datagram of "NAME=value" lines to the socket that $NOTIFY_SOCKET names
// (sd_notify(3), systemd 252). It never waits and needs no package net.
package sdnotify

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// The environment variables of the protocol.
const (
	SocketEnv = "NOTIFY_SOCKET"
	USecEnv   = "WATCHDOG_USEC"
	PIDEnv    = "WATCHDOG_PID"
)

// Socket sends to a supervisor. Not for concurrent use.
type Socket struct {
	fd int
	to unix.SockaddrUnix
}

// Open makes a socket for address: the path of a socket, or '@' and a name that is in no
// file system (unix(7), abstract). Nobody needs to listen yet. The caller closes it.
func Open(address string) (*Socket, error) {
	switch {
	case address == "":
		return nil, errors.New(SocketEnv + " is not set")
	case address[0] != '/' && address[0] != '@' || len(address) < 2:
		return nil, fmt.Errorf("%s: %q: want a path or @NAME", SocketEnv, address)
	case len(address) > 107: // sun_path has 108, with the NUL behind a path
		return nil, fmt.Errorf("%s: %q: too long", SocketEnv, address)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: socket: %w", SocketEnv, err)
	}
	return &Socket{fd, unix.SockaddrUnix{Name: address}}, nil // x/sys knows the '@' too
}

// Send sends one datagram. It does not wait: unix.EAGAIN says that the supervisor is
// behind, and may be tried again. It looks the address up each time, so that a
// supervisor may be replaced.
func (s *Socket) Send(state string) error {
	if err := unix.Sendto(s.fd, []byte(state), unix.MSG_NOSIGNAL, &s.to); err != nil {
		return fmt.Errorf("%s: send to %s: %w", SocketEnv, s.to.Name, err)
	}
	return nil
}

// Close closes the socket.
func (s *Socket) Close() error { return unix.Close(s.fd) }

// Watch gives how long the supervisor lets pass without WATCHDOG=1, of usec, the text of
// $WATCHDOG_USEC; 0 if it does not watch. The text of $WATCHDOG_PID, unless it is
// empty, has to name pid, the process that is meant (sd_watchdog_enabled(3));
// pid 0 asks for no match.
func Watch(usec, of string, pid int) (time.Duration, error) {
	if usec == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(usec, 10, 64)
	if err != nil || n > uint64(1<<63-1)/1000 {
		return 0, fmt.Errorf("%s: %q: want microseconds", USecEnv, usec)
	}
	if of = strings.TrimSpace(of); of != "" && pid != 0 {
		if meant, err := strconv.Atoi(of); err != nil || meant < 1 {
			return 0, fmt.Errorf("%s: %q: want a process", PIDEnv, of)
		} else if meant != pid {
			return 0, nil
		}
	}
	return time.Duration(n) * time.Microsecond, nil
}
