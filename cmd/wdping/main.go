// Command wdping pings a hardware watchdog while its conditions hold.
package main

import "vigil/pkg/tool/wdping"

func main() { wdping.Main() }
