package rundir

// Stat tells what lies under name without opening it; a symbolic link is not
// followed. A missing file matches fs.ErrNotExist, anything but a regular file
// gives ErrNotRegular.
func (d *Dir) Stat(name string) (Info, error) {
	var r Reader
	err := r.Stat(d, name, "")
	return r.Info, err
}
