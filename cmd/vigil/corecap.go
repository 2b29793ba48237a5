//go:build amd64 || arm64

package main

import "vigil/pkg/tool/corecap"

func init() { tools["corecap"] = corecap.Main }
