// Package drill tests vigil-doctor and vigil-drill: the scripts that look at a host
// and at a service on it, and that have to leave both as they were.
//
// It has no code of its own.
package drill
