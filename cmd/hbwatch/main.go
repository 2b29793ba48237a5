// Command hbwatch watches heartbeat files for timeouts.
package main

import "vigil/pkg/tool/hbwatch"

func main() { hbwatch.Main() }
