package watchdog

import (
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"vigil/pkg/fmt"
)

// Ledger is the file that says to the next boot what happened in this one. Each
// line is on the disk when Add returns. One process at a time has it.
type Ledger struct {
	path    string
	fd      int
	size    int64
	entries []Entry // as they were at the opening
	bad     int     // lines that could not be read
	torn    bool    // the last line has no end
}

// OpenLedger opens the ledger at name, or makes it with mode 0644. It must be a regular
// file that only root or this user can change: who can, could keep the device from
// being armed. The caller closes it.
func OpenLedger(name string) (*Ledger, error) {
	text, fd, err := openLedger(name, unix.O_RDWR|unix.O_APPEND|unix.O_CREAT)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("%s: ledger: lock: another process has it: %w", name, err)
	}
	l := &Ledger{path: name, fd: fd, size: int64(len(text)), torn: len(text) > 0 && text[len(text)-1] != '\n'}
	l.entries, l.bad = parseLedger(text)
	return l, nil
}

// ReadLedger reads the ledger at name.
func ReadLedger(name string) ([]Entry, error) {
	text, fd, err := openLedger(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	_ = unix.Close(fd)
	entries, _ := parseLedger(text)
	return entries, nil
}

// openLedger opens and reads. What lies there is asked before, for to open a device
// may start it.
func openLedger(name string, flags int) (text []byte, fd int, err error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, -1, fmt.Errorf("%s: ledger: want a regular file", name)
	}
	fd, err = unix.Open(name, flags|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0o644)
	if err != nil {
		return nil, -1, fmt.Errorf("%s: ledger: open: %w", name, err)
	}
	err = unix.Fstat(fd, &st)
	switch me := unix.Geteuid(); {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		err = errors.New("want a regular file")
	case st.Mode&0o022 != 0:
		err = fmt.Errorf("mode %04o, want no write right for group and others", st.Mode&0o7777)
	case st.Uid != 0 && int(st.Uid) != me:
		err = fmt.Errorf("belongs to uid %d, want root or uid %d", st.Uid, me)
	case st.Size > 2*maxLedger:
		err = fmt.Errorf("%d bytes, want at most %d: is it a ledger?", st.Size, 2*maxLedger)
	default:
		text, err = readAll(fd, int(st.Size))
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, -1, fmt.Errorf("%s: ledger: %w", name, err)
	}
	return text, fd, nil
}

func readAll(fd, size int) ([]byte, error) {
	text := make([]byte, size)
	for at := 0; at < size; {
		n, err := unix.Pread(fd, text[at:], int64(at))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return text[:at], err
		}
		at += n
	}
	return text, nil
}

// Add appends e and brings it to the disk. It may take as long as the disk does.
func (l *Ledger) Add(e *Entry) error {
	line := e.append(nil)
	if l.torn {
		line = append([]byte{'\n'}, line...)
	}
	if l.size+int64(len(line)) > maxLedger {
		// If that fails there still is room for the line that matters now.
		if err := l.shorten(); err != nil && l.size+int64(len(line)) > 2*maxLedger {
			return fmt.Errorf("%s: ledger: shorten: %w", l.path, err)
		}
	}
	n, err := unix.Write(l.fd, line)
	if n > 0 {
		l.size += int64(n)
		l.torn = n < len(line)
	}
	if err == nil && n < len(line) {
		err = unix.ENOSPC
	}
	if err == nil {
		// Not fdatasync: on an ext2 that the ext4 driver of Linux 6.1 has, that
		// leaves the new size in memory, and the reset takes the line away.
		err = unix.Fsync(l.fd)
	}
	if err != nil {
		return fmt.Errorf("%s: ledger: write: %w", l.path, err)
	}
	return nil
}

// shorten puts a file with the newer half of the lines in the ledger's place.
func (l *Ledger) shorten() error {
	text, err := readAll(l.fd, int(l.size))
	if err != nil {
		return err
	}
	text = newest(text, maxLedger/2)
	temp := l.path + ".new"
	_ = unix.Unlink(temp) // of a run that was cut short
	fd, err := unix.Open(temp, unix.O_RDWR|unix.O_APPEND|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	n, err := unix.Write(fd, text)
	if err == nil && n < len(text) {
		err = unix.ENOSPC
	}
	if err == nil {
		err = unix.Fsync(fd)
	}
	if err == nil {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		err = unix.Rename(temp, l.path)
	}
	if err != nil {
		_ = unix.Unlink(temp)
		_ = unix.Close(fd)
		return err
	}
	_ = unix.Close(l.fd)
	l.fd, l.size = fd, int64(len(text))
	l.torn = l.size > 0 && text[l.size-1] != '\n'
	syncDir(path.Dir(l.path))
	return nil
}

// syncDir is for a name what fsync is for the content. Some directories cannot be
// synced; there the name takes its time.
func syncDir(dir string) {
	if fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		_ = unix.Fsync(fd)
		_ = unix.Close(fd)
	}
}

// Close closes the file.
func (l *Ledger) Close() error { return unix.Close(l.fd) }
