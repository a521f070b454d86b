package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Names of the two files, and the environment variables that override where
// they are.
const (
	ProgramName = "scopedrift-engine"
	LibraryName = "libchdb.so"
	ProgramEnv  = "SCOPEDRIFT_ENGINE"
	LibraryEnv  = "SCOPEDRIFT_LIBCHDB"
)

// findProgram finds the engine program: as given, by the environment, beside
// the running program.
func findProgram(given string) (string, error) {
	path, from := given, "the configuration"
	if path == "" {
		path, from = os.Getenv(ProgramEnv), ProgramEnv
	}
	if path == "" {
		self, err := os.Executable()
		if err == nil {
			self, err = filepath.EvalSymlinks(self)
		}
		if err != nil {
			return "", &Error{Kind: NoProgram, Text: "cannot find out where this program is, so as to find " + ProgramName + " beside it",
				Remedy: fmt.Sprintf("set %s to the path of %s, %s", ProgramEnv, ProgramName, withoutEngine), Err: err}
		}
		path, from = filepath.Join(filepath.Dir(self), ProgramName), "beside this program"
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", &Error{Kind: NoProgram, Text: fmt.Sprintf("there is no engine program %s (%s)", path, from),
			Remedy: fmt.Sprintf("put %s beside scopedrift (make build does), set %s to its path, %s", ProgramName, ProgramEnv, withoutEngine)}
	case err != nil:
		return "", fileError("look at the engine program", path, err)
	case info.IsDir() || info.Mode()&0o111 == 0:
		return "", &Error{Kind: WrongProgram, Text: fmt.Sprintf("%s is not a program that can be run", path),
			Remedy: fmt.Sprintf("set %s to the path of %s, %s", ProgramEnv, ProgramName, withoutEngine)}
	}
	return filepath.Abs(path)
}

// FindLibrary finds libchdb: as given, by the environment, beside the running
// program or in the lib directory beside that one's. The engine program asks
// for it, so "beside" is beside the engine.
func FindLibrary(given string) (string, error) {
	path := given
	if path == "" {
		path = os.Getenv(LibraryEnv)
	}
	if path != "" {
		return checkLibrary(path)
	}
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err == nil {
		dir := filepath.Dir(self)
		for _, p := range []string{filepath.Join(dir, LibraryName), filepath.Join(dir, "..", "lib", LibraryName)} {
			if _, err := os.Stat(p); err == nil {
				return checkLibrary(p)
			}
		}
		path = filepath.Join(dir, LibraryName)
	}
	return "", noLibrary(path)
}

func noLibrary(path string) *Error {
	return &Error{Kind: NoLibrary, Text: fmt.Sprintf("there is no engine library %s", path),
		Remedy: fmt.Sprintf("fetch it with make build, set %s to the path of %s, %s", LibraryEnv, LibraryName, withoutEngine)}
}
