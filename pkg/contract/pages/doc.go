// Package pages holds the man pages to what they say: every example of every
// page is run, flags and words are those of the program, and what one page says
// of another exists.
//
// # How an example is run
//
// An example is a literal display (.Bd -literal, .Dl) in the section EXAMPLES. For
// a page NAME.8 the file testdata/NAME.8.sh has a section for each of them, which
// begins with the example's first line (but #!/bin/sh):
//
//	### $ hbsend -interval 2s -pidfile /run/svc.pid /run/vigil/hb/svc.hb
//	service svc
//	begin
//	beats /run/vigil/hb/svc.hb
//	finish 0
//
// The section is a shell script. It makes what the example takes for granted, runs
// the example, and looks at what came of it; the functions that it may use are in
// testdata/prelude.sh. It runs as root in a small machine of its own, made of
// namespaces by testdata/machine.sh: processes, files, users and network are its
// own, vigil is installed in /usr/local, and the example's text is /t/example. So
// a page may use the paths that a user would.
//
// Words before the $ are gates (see package gate) that it wants; where one of them
// is vm, the section runs in a virtual machine, which has a watchdog.
//
// Where the thing itself cannot be had, a section may use stand_in or edit, and is
// then listed in standIns with the reason. What another test runs, such as the
// units of systemd, is listed in elsewhere.
package pages
