package rundir

import (
	"golang.org/x/sys/unix"
)

// Stat tells what lies under name without opening it; a symbolic link is not
// followed. A missing file matches fs.ErrNotExist, anything but a regular file
// gives ErrNotRegular.
func (d *Dir) Stat(name string) (Info, error) {
	if err := component(name); err != nil {
		return Info{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Info{}, fail(d.join(name), "stat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return Info{}, fail(d.join(name), "stat", ErrNotRegular)
	}
	return info(&st), nil
}
