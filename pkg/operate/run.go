package operate

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"vigil/pkg/child"
	"vigil/pkg/cli"
	"vigil/pkg/control"
	"vigil/pkg/explain"
	"vigil/pkg/fmt"
	"vigil/pkg/heartbeat"
	"vigil/pkg/rundir"
)

const (
	runLimit = time.Minute
	outMost  = 256 << 10 // bytes that are told of what a program prints
	errMost  = 400       // and of its complaints, in a pair
)

// Programs runs what lies in one directory.
type Programs struct {
	ID     string
	Target *explain.Target
	Log    control.Log

	dir  *rundir.Dir
	path string
}

// Open opens the directory, which has to be trusted as rundir says.
func (p *Programs) Open(path string) error {
	var err error
	if p.path, err = filepath.Abs(path); err != nil {
		return err
	}
	p.dir, err = rundir.Open(path)
	return err
}

// Verbs gives run.
func (p *Programs) Verbs() []control.Verb {
	return []control.Verb{{
		Name: "run", Admin: true, Slow: true, Limit: runLimit + 5*time.Second, Run: p.run,
		Keys: []control.Key{{Name: "name", Hint: "NAME", Required: true}},
		Help: "run a program of " + cli.Escape(p.path) + " and tell what it prints",
	}}
}

func (p *Programs) run(c control.Call) (control.Reply, error) {
	var r control.Reply
	name := c.Get("name")
	if !heartbeat.ValidID(name) {
		return r, control.Refuse(control.Usage, "name %s: want a name in %s", name, p.path)
	}
	if err := p.check(name); err != nil {
		return r, control.Refuse(control.Denied, "%v", err)
	}
	env := []string{"DIAG_ID=" + p.ID, "DIAG_PID="}
	if st, err := p.Target.Find(); err == nil { // it may run also when the target does not
		env[1] = fmt.Sprintf("DIAG_PID=%d", st.PID)
	}
	if dir := os.Getenv("VIGIL_DIR"); dir != "" {
		env = append(env, "VIGIL_DIR="+dir)
	}
	p.Log.Info("run " + name)
	res, err := child.Run(c.Done, child.Config{Argv: []string{p.path + "/" + name}, Env: env, Limit: runLimit, Most: outMost})
	if err != nil {
		return r, told(err, res)
	}
	r.Add("status", res.Status)
	if text := firstLine(res.Err); text != "" {
		r.Add("stderr", text)
	}
	if res.Cut {
		r.Add("truncated", "yes")
	}
	r.Data = res.Out
	return r, nil
}

// check refuses what somebody else could have written. The directory is ours or
// root's, so what was found is what will run.
func (p *Programs) check(name string) error {
	f, info, err := p.dir.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	f.Close()
	return trusted(p.path+"/"+name, info.UID, uint32(info.Mode))
}

// trusted says what keeps a file from being run.
func trusted(path string, uid int, mode uint32) error {
	switch {
	case uid != 0 && uid != os.Geteuid():
		return fmt.Errorf("%s: belongs to uid %d: %w", path, uid, ErrProgram)
	case mode&0o022 != 0:
		return fmt.Errorf("%s: writable for group or others: %w", path, ErrProgram)
	case mode&0o111 == 0:
		return fmt.Errorf("%s: not executable: %w", path, ErrProgram)
	}
	return nil
}

// told joins an error with what the program said itself.
func told(err error, res child.Result) error {
	if text := firstLine(res.Err); text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return cli.Escape(line[:min(len(line), errMost)])
}
