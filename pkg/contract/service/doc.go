// Package service runs the examples of scripts/service for real: each init is
// started as the first process of a host of its own, the example is put there
// as docs/service.md says, and then its pieces are killed and stopped, one after
// the other. The table of that page stands on these tests.
//
// It has no code of its own.
package service
