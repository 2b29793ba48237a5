// Package release tests what is handed out: archives, packages, and the programs of
// other machines.
//
// It has no code of its own.
package release
