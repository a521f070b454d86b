// Package arch holds the laws of the house as a test: who may import whom, what
// a folder may be called, how long a file may be and which words the contracts
// use. It has no code of its own.
//
// It promises that a broken law fails the build with the reason for the law; it
// cannot see whether a good law is followed in spirit.
package arch
