package chdb_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/scopedrift/scopedrift/pipeline/engine/chdb"
	"github.com/scopedrift/scopedrift/pipeline/engine/enginetest"
)

// A process boots one engine, so this is one test: the life of a connection,
// and that nothing reaches the library after the end of what it belongs to.
func TestConnection(t *testing.T) {
	_, path := enginetest.Files(t)
	lib, err := chdb.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if lib.Version() == "" {
		t.Error("no version")
	}
	dir := "--path=" + t.TempDir()
	keep, err := lib.Connect(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	conn, err := lib.Connect(dir)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("texts with zeros", func(t *testing.T) {
		out, _, err := conn.Query("SELECT 'a\x00b', {x:String}", "TSVRaw", chdb.Param{Name: "x", Value: `c\0d`})
		if err != nil || string(out) != "a\x00b\tc\x00d\n" {
			t.Errorf("%q, %v", out, err)
		}
	})
	t.Run("errors", func(t *testing.T) {
		var e *chdb.Error
		if _, _, err := conn.Query("SELECT * FROM nope", "TSV"); !errors.As(err, &e) || e.Code != 60 {
			t.Errorf("query: %v", err)
		}
		if _, err := conn.Insert("INSERT INTO nope", "CSV"); !errors.As(err, &e) || e.Code != 60 {
			t.Errorf("insert: %v", err)
		}
		if _, _, err := conn.Query("SELECT 1", "NoSuchFormat"); err == nil {
			t.Error("a missing format succeeded")
		}
	})
	t.Run("insert", func(t *testing.T) {
		if _, _, err := conn.Query("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a", "Null"); err != nil {
			t.Fatal(err)
		}
		for _, commit := range []bool{true, false} {
			in, err := conn.Insert("INSERT INTO t", "CSV")
			if err != nil {
				t.Fatal(err)
			}
			for range 10 {
				if _, err := in.Write(bytes.Repeat([]byte("7\n"), 1000)); err != nil {
					t.Fatal(err)
				}
			}
			if commit {
				sum, err := in.Done()
				if err != nil || sum.RowsWritten != 10_000 {
					t.Errorf("%+v, %v", sum, err)
				}
				if _, err := in.Done(); !errors.Is(err, chdb.ErrClosed) {
					t.Errorf("done twice: %v", err)
				}
			}
			in.Close()
			in.Close()
			if _, err := in.Write([]byte("1\n")); !errors.Is(err, chdb.ErrClosed) {
				t.Errorf("write after the end: %v", err)
			}
		}
		out, _, err := conn.Query("SELECT count() FROM t", "TSV")
		if err != nil || string(out) != "10000\n" {
			t.Errorf("%q rows, %v: the insert that was not done must not count", out, err)
		}
	})
	t.Run("stream", func(t *testing.T) {
		s, err := conn.Stream("SELECT number FROM numbers(1000000)", "RowBinary")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			piece, err := s.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n += len(piece)
		}
		if _, err := s.Next(); err != io.EOF || n != 8_000_000 {
			t.Errorf("%d bytes, then %v", n, err)
		}
		s.Close()
		s.Close()
		if _, err := s.Next(); !errors.Is(err, chdb.ErrClosed) {
			t.Errorf("next after the end: %v", err)
		}
		if s, err = conn.Stream("SELECT number FROM numbers(100000000)", "RowBinary"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Next(); err != nil {
			t.Error(err)
		}
		s.Close() // in the middle
		if out, _, err := conn.Query("SELECT 1", "TSV"); err != nil || string(out) != "1\n" {
			t.Errorf("after a stream that was left: %q, %v", out, err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		conn.Close()
		conn.Close()
		_, _, qerr := conn.Query("SELECT 1", "TSV")
		_, serr := conn.Stream("SELECT 1", "TSV")
		_, ierr := conn.Insert("INSERT INTO t", "CSV")
		for _, err := range []error{qerr, serr, ierr} {
			if !errors.Is(err, chdb.ErrClosed) {
				t.Error(err)
			}
		}
	})
	if _, err := lib.Connect("--path=" + t.TempDir()); err == nil {
		t.Error("a second directory in one process")
	}
}

func TestLoadFailures(t *testing.T) {
	for _, path := range []string{"/nowhere/libchdb.so", "/bin/sh", "libc.so.6"} {
		if _, err := chdb.Load(path); err == nil {
			t.Errorf("%s was loaded", path)
		} else {
			t.Log(err)
		}
	}
}
