// Command hbsend sends heartbeats with jitter into a file.
package main

import "vigil/pkg/tool/hbsend"

func main() { hbsend.Main() }
