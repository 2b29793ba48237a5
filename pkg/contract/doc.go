// Package contract holds the repository to its contract: which package may
// import which, how large the programs may be and that their bytes do not
// depend on where they were built, that man pages and programs speak of the
// same flags, and that the scripts do what they say under every shell.
//
// It has no code of its own. Each rule that can be given a sample has one that
// breaks it, so that a check which no longer sees anything is noticed.
package contract
