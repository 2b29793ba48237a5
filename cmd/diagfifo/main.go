// Command diagfifo reads commands from a FIFO and explains a running process.
package main

import "vigil/pkg/tool/diagfifo"

func main() { diagfifo.Main() }
