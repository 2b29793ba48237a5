package corecap

import (
	"strings"

	"vigil/pkg/cli"
	"vigil/pkg/crash"
	"vigil/pkg/fmt"
	"vigil/pkg/jsonline"
	"vigil/pkg/rundir"
	"vigil/pkg/spool"
)

var pruneTool = cli.Tool{
	Name:     "prune",
	Synopsis: "corecap prune [flags] DIR",
	Summary:  "Removes the captures in a directory that exceed the limits, and prints their names.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "the directory is within the limits"},
		{Code: cli.ExitUsage, Meaning: "wrong usage"},
		{Code: cli.ExitSystem, Meaning: "the directory is not trusted, or a file could not be removed"},
	},
}

func prune(env *cli.Env, args []string) int {
	env = env.Command(pruneTool)
	flags := env.Flags()
	limits := crash.Defaults().Limits
	bytes, free := spool.Size(limits.KeepBytes), spool.Size(limits.KeepFree)
	flags.IntVar(&limits.Keep, "keep", limits.Keep, "keep the newest `N` captures of each program of each user; 0: all")
	flags.Func("keep-bytes", "keep at most `SIZE` on disk in all, as 512M or 4G (default no limit)", bytes.Set)
	flags.Func("keep-free", "leave `SIZE` of the file system free (default "+free.String()+")", free.Set)
	if code, done := env.Parse(flags, args); done {
		return code
	}
	switch {
	case flags.NArg() != 1:
		return env.Usage("want one DIR, have %d", flags.NArg())
	case limits.Keep < 0:
		return env.Usage("-keep %d: want 0 or more", limits.Keep)
	}
	limits.KeepBytes, limits.KeepFree = int64(bytes), int64(free)
	dir, err := rundir.Open(flags.Arg(0))
	if err != nil {
		return env.Fail(err)
	}
	defer dir.Close()
	gone, err := spool.Prune(dir, limits)
	var out []byte
	for _, e := range gone {
		out = fmt.Appendf(out, "%s\t%d\t%s\n", e.Base, e.Disk, strings.Replace(string(jsonline.AppendTime(nil, e.Time.UnixMilli())), ".000", "", 1))
	}
	if code := env.Print(out); err == nil {
		return code
	}
	return env.Fail(err)
}
