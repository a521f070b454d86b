package engine

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// machines are the ELF machines by GOARCH, where libchdb exists.
var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64,
	"arm64": elf.EM_AARCH64,
}

// checkLibrary looks at the head of the library, because the loader's own
// words about a wrong file are hard to understand.
func checkLibrary(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", noLibrary(path)
	case err != nil:
		return "", fileError("look at the engine library", path, err)
	case info.IsDir():
		return "", wrongLibrary(path, "it is a directory")
	}
	file, err := os.Open(path)
	if err != nil {
		return "", fileError("open the engine library", path, err)
	}
	defer func() { _ = file.Close() }()
	f, err := elf.NewFile(file)
	if err != nil {
		return "", wrongLibrary(path, "it is not a shared library, or it is incomplete")
	}
	if f.Machine != machines[runtime.GOARCH] {
		return "", wrongLibrary(path, fmt.Sprintf("it is for %s, and this program for %s", f.Machine, runtime.GOARCH))
	}
	if f.Type != elf.ET_DYN {
		return "", wrongLibrary(path, "it is not a shared library")
	}
	return filepath.Abs(path)
}

func wrongLibrary(path, why string) *Error {
	return &Error{Kind: WrongLibrary, Text: fmt.Sprintf("%s is not a usable libchdb: %s", path, why),
		Remedy: fmt.Sprintf("fetch the right one with make build, or set %s, %s", LibraryEnv, withoutEngine)}
}

// LoadFailure makes an [Error] of what the loader said about the library.
func LoadFailure(path string, err error) *Error {
	e := wrongLibrary(path, firstLine(err.Error()))
	e.Err = err
	return e
}
