package corecap

import (
	"errors"
	"os"

	"vigil/pkg/cli"
	"vigil/pkg/crash"
)

var patternTool = cli.Tool{
	Name:     "pattern",
	Synopsis: "corecap pattern [-set | -restore]",
	Summary:  "Tells where the kernel sends cores, makes this program their handler, or puts back what was before.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "cores go to corecap; -restore: the old pattern is back"},
		{Code: cli.ExitNo, Meaning: "cores go elsewhere; -restore: the pattern is not corecap's and was left"},
		{Code: cli.ExitUsage, Meaning: "wrong usage, or a path that core_pattern has no room for"},
		{Code: cli.ExitSystem, Meaning: "not root, a container, no spool, a program that others could replace, or the kernel refused"},
	},
}

func pattern(env *cli.Env, args []string) int {
	env = env.Command(patternTool)
	flags := env.Flags()
	set := flags.Bool("set", false, "make this program the handler, and keep the old pattern in "+crash.StatePath)
	restore := flags.Bool("restore", false, "put the old pattern back")
	if code, done := env.Parse(flags, args); done {
		return code
	}
	switch {
	case flags.NArg() > 0:
		return env.Usage("unexpected argument: %s", flags.Arg(0))
	case *set && *restore:
		return env.Usage("-set and -restore: want one of them")
	}
	setting, err := arrange(*set, *restore)
	if errors.Is(err, crash.ErrNotOurs) {
		env.Log.Error(err.Error())
		return cli.ExitNo
	}
	if err != nil {
		return env.Fail(err)
	}
	code := env.Print([]byte("core_pattern " + cli.Escape(setting.Pattern) + "\ncore_pipe_limit " + cli.Escape(setting.PipeLimit) + "\n"))
	if code == cli.ExitOK && !*restore && !setting.Ours() {
		return cli.ExitNo
	}
	return code
}

func arrange(set, restore bool) (crash.Setting, error) {
	switch {
	case set:
		program, err := os.Executable()
		if err != nil {
			return crash.Setting{}, err
		}
		config, err := crash.ReadConfig(crash.ConfigPath)
		if err != nil {
			return crash.Setting{}, err
		}
		word := ""
		if cli.Within(tool.Name) {
			word = tool.Name
		}
		return crash.Real.Set(program, word, config.Spool)
	case restore:
		return crash.Real.Restore()
	}
	return crash.Real.Read()
}
