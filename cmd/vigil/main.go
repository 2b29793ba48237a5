// Command vigil is the five tools in one file, for a host with little room:
// called hbsend, by a link, it is hbsend.
package main

import (
	"vigil/pkg/cli"
	"vigil/pkg/tool/diagfifo"
	"vigil/pkg/tool/hbsend"
	"vigil/pkg/tool/hbwatch"
	"vigil/pkg/tool/wdping"
)

var tool = cli.Tool{
	Name:     "vigil",
	Synopsis: "vigil TOOL [argument ...] | vigil -list",
	Summary:  "The five tools in one program, for links that bear their names.",
	Exits: []cli.Exit{
		{Code: cli.ExitOK, Meaning: "told"},
		{Code: cli.ExitUsage, Meaning: "wrong usage, or no such tool"},
	},
}

var tools = map[string]func(){"diagfifo": diagfifo.Main, "hbsend": hbsend.Main, "hbwatch": hbwatch.Main, "wdping": wdping.Main}

func main() { cli.Choose(tool, tools) }
