// Package cli is the command line: one file a command, and the only place where
// collector, pipeline and detector meet.
//
// [Main] runs one command in an [Env] and returns the exit code; [System] makes
// the Env of this process. Everything a command does to the world outside goes
// through its Env, and env.go is the only file here that imports os, so that
// every command can be run inside a test.
//
// The package promises: results go to standard output and talk to standard
// error; with a machine format nothing else is on standard output; every string
// that was observed rather than written by us is escaped before it reaches a
// terminal; what a temporary store held is gone when the command ends, however
// it ends short of SIGKILL; and the exit codes of [Main].
//
// It cannot see whether the reader of its output understood it: a finding that
// needs the manual is a bug in its title.
package cli
