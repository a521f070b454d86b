// Command generate compiles the wire's .proto files and writes their Go types:
//
//	go run . DIRECTORY MODULE FILE...
//
// The files lie in DIRECTORY; what is written goes to the folders that their
// go_package options name, of which MODULE is DIRECTORY. It is what protoc and
// protoc-gen-go do, in Go only and at the versions that this folder's go.mod
// pins, so that a fresh machine needs nothing but Go. It is a module of its own
// to keep the compiler out of scopedrift's dependencies. It checks no style and
// no compatibility: package wire's tests do the latter.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("want a directory, the import path that it has, and .proto files in it")

func run(args []string) error {
	if len(args) < 3 {
		return errUsage
	}
	dir, module, names := args[0], args[1], args[2:]
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{dir}}),
		// Comments go over into the Go types.
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), names...)
	if err != nil {
		return err
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: names,
		Parameter:      proto.String("module=" + module),
	}
	for _, f := range files {
		// Over the wire and back, so that options are of generated types, not
		// of the compiler's dynamic ones.
		data, err := proto.Marshal(protodesc.ToFileDescriptorProto(f))
		if err != nil {
			return err
		}
		file := new(descriptorpb.FileDescriptorProto)
		if err := proto.Unmarshal(data, file); err != nil {
			return err
		}
		request.ProtoFile = append(request.ProtoFile, file)
	}
	plugin, err := protogen.Options{}.New(request)
	if err != nil {
		return err
	}
	for _, f := range plugin.Files {
		if f.Generate {
			internal_gengo.GenerateFile(plugin, f)
		}
	}
	response := plugin.Response()
	if response.Error != nil {
		return errors.New(response.GetError())
	}
	for _, f := range response.File {
		name := filepath.Join(dir, filepath.FromSlash(f.GetName()))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		// The compiler names itself no version.
		text := strings.Replace(f.GetContent(), "// \tprotoc        (unknown)\n", "", 1)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
