// Command corecap captures a core of a live process, which goes on afterwards.
package main

import "vigil/pkg/tool/corecap"

func main() { corecap.Main() }
